/*
 * sync_names.h - baton's name in synchronous_standby_names.
 */
#ifndef BATON_SYNC_NAMES_H
#define BATON_SYNC_NAMES_H

#include "baton.h"

/* The name of a database's walsender, as PostgreSQL knows it. */
extern void sync_name_of(Oid dboid, char *out, size_t size);

/*
 * Does synchronous_standby_names, as this process has loaded it, belong to somebody
 * else, so that baton cannot make commits wait?  False if not; else *detail says
 * what is in the way, *hint what to do (both palloc'd).
 */
extern bool sync_names_obstacle(Oid dboid, char **detail, char **hint);

/* Does the setting make commits wait for this database's walsender, in any case? */
extern bool sync_names_wait_for(Oid dboid);

/* Is the setting baton's own value, with this database's name and no other? */
extern bool sync_names_alone(Oid dboid);

/* Has the server taken up the setting: do commits wait for anybody now? */
extern bool sync_names_in_effect(void);

/* Does a session of any database wait in its commit? */
extern bool sync_names_waiters(void);

/* Is the node's name in the setting by baton's doing, or about to be? */
extern bool sync_names_is_in(NodeShared *node);

/* The setting is as it should be: remember whether baton has put the name there. */
extern void sync_names_claim(NodeShared *node);

/*
 * Put the node's name into the setting, or take it out, in postgresql.auto.conf,
 * and have the server reload.  False with the reason in err.  Not in a transaction.
 */
extern bool sync_names_write(NodeShared *node, SyncName wanted, char *err, size_t errlen);

/*
 * Take names of baton's out whose nodes do not exist any more, such as those of a data
 * directory that was copied without baton/: all commits of the server would wait for
 * them.  For the launcher, before it starts anybody; a failure is logged.
 */
extern void sync_names_drop_stale(void);

#endif							/* BATON_SYNC_NAMES_H */
