/*
 * settings.h - baton's settings (GUCs).  Each is described, with unit and
 * bounds, where settings.c defines it.
 */
#ifndef BATON_SETTINGS_H
#define BATON_SETTINGS_H

/* server-wide, need a restart */
extern int	baton_max_nodes;			/* databases of this server that can be nodes */

/* reload */
extern char *baton_local_conninfo;		/* loopback connection, "" for the default */
extern int	baton_stream_keep_size;		/* MB of stream log kept for slow replicas */
extern int	baton_slot_keep_size;		/* MB of WAL capture's slot may hold back, -1 no limit */
extern int	baton_compression_level;	/* zlib level, 0 off */
extern int	baton_heartbeat_interval;	/* ms */
extern int	baton_election_timeout;		/* ms, -1 from the heartbeat: see below */
extern bool baton_failover_on_shutdown;	/* a primary's server that stops hands over first */
extern int	baton_shutdown_timeout;		/* ms, for that and for shipping the rest */
extern char *baton_on_role_change;		/* shell command, "" none; see node/notifier.c */
extern int	baton_on_role_change_timeout;	/* ms, then it is ended */
extern int	baton_connect_timeout;		/* ms, node to node */
extern int	baton_max_clock_delta;		/* ms */
extern int	baton_copy_jobs;			/* parallel jobs of the initial copy */
extern bool baton_auto_copy;			/* a node that cannot follow takes a new copy by itself */
extern bool baton_replicate_roles;		/* roles go to, and come from, the other nodes' servers */
extern int	baton_rollback_limit;		/* transactions that may be rolled back, -1 no limit */
extern int	baton_ship_window;			/* kB in flight to one replica */
extern int	baton_reconnect_max_delay;	/* ms, upper end of the backoff */
extern int	baton_min_concurrent_build_size;	/* blocks of the table */
extern int	baton_apply_lock_timeout;	/* ms that apply waits for locks of sessions, -1 for ever */
extern int	baton_apply_retry_interval; /* ms between attempts after an apply error */

/* internal: proves that a session belongs to baton's own restore */
extern char *baton_session_token;

extern void baton_define_settings(void);

/* The election timeout in force, and the lease that a primary asks for, in ms. */
extern int	baton_effective_election_timeout(void);

#endif							/* BATON_SETTINGS_H */
