/*
 * settings.c - defines baton's settings.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "settings.h"
#include "utils/guc.h"

int			baton_max_nodes;
char	   *baton_local_conninfo;
int			baton_stream_keep_size;
int			baton_slot_keep_size;
int			baton_compression_level;
int			baton_heartbeat_interval;
int			baton_election_timeout;
bool		baton_failover_on_shutdown;
int			baton_shutdown_timeout;
char	   *baton_on_role_change;
int			baton_on_role_change_timeout;
int			baton_connect_timeout;
int			baton_max_clock_delta;
int			baton_copy_jobs;
bool		baton_auto_copy;
bool		baton_replicate_roles;
int			baton_rollback_limit;
int			baton_ship_window;
int			baton_reconnect_max_delay;
int			baton_apply_retry_interval;
int			baton_apply_lock_timeout;
int			baton_min_concurrent_build_size;
char	   *baton_session_token;

static void
define_stream_settings(void)
{
	DefineCustomIntVariable("baton.stream_keep_size",
							"Sets how much of the stream log is kept for replicas that are behind.",
							"A replica that needs older records takes a new initial copy.",
							&baton_stream_keep_size, 4096, 64, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.slot_keep_size",
							"Sets how much WAL the replication slot of a node may hold back while its capture is not running.",
							"Beyond it the slot is dropped and the node says what it needs. -1 means no limit.",
							&baton_slot_keep_size, 16384, -1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.compression_level",
							"Sets the zlib level at which frames are compressed, 0 for no compression.",
							NULL,
							&baton_compression_level, 1, 0, 9,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.ship_window",
							"Sets how much may be under way to one replica without an answer.",
							NULL,
							&baton_ship_window, 8192, 1024, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.apply_retry_interval",
							"Sets the time between two attempts to apply a transaction that failed.",
							NULL,
							&baton_apply_retry_interval, 5000, 100, 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.apply_lock_timeout",
							"Sets how long apply waits for sessions that hold a lock which it needs, before these are cancelled.",
							"A node that is about to lead does not wait. -1 means for ever, then too.",
							&baton_apply_lock_timeout, 30000, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.min_concurrent_build_size",
							"Sets from which size of its table on an index that the primary has built CONCURRENTLY is built beside apply.",
							"Smaller ones are built by apply itself, at their place in the stream.",
							&baton_min_concurrent_build_size, 4 * 1024 * 1024 / BLCKSZ, 0, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_BLOCKS, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.copy_jobs",
							"Sets the number of parallel jobs of an initial copy.",
							NULL,
							&baton_copy_jobs, 2, 1, 64,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.rollback_limit",
							"Sets how many diverged transactions a node that rejoins may roll back by itself.",
							"Beyond it the node waits for baton.rejoin(discard => true). 0 means never by itself, -1 no limit.",
							&baton_rollback_limit, 10000, -1, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("baton.auto_copy",
							 "Lets a node that cannot follow the stream any more take a new copy by itself.",
							 "Its data stays until the new copy can replace it. If off, the node goes out of service.",
							 &baton_auto_copy, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("baton.replicate_roles",
							 "Carries roles, their passwords, memberships, settings and comments to the other nodes' servers.",
							 "If off on a primary nothing of it is sent, if off on a replica nothing is applied. Roles belong to the server: one that is there already is made what it is on the primary.",
							 &baton_replicate_roles, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_group_settings(void)
{
	DefineCustomIntVariable("baton.max_nodes",
							"Sets how many databases of this server can be nodes.",
							NULL,
							&baton_max_nodes, 8, 1, 256,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("baton.local_conninfo",
							   "Sets how baton connects to its own server, as a superuser.",
							   "If empty, the first socket directory and the bootstrap superuser are used.",
							   &baton_local_conninfo, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.heartbeat_interval",
							"Sets the time between two signs of life of a primary.",
							NULL,
							&baton_heartbeat_interval, 500, 10, 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.election_timeout",
							"Sets the lease of a primary, for which a silent one counts as alive, and how long votes are waited for.",
							"-1 means three times baton.heartbeat_interval; twice that interval is the least.",
							&baton_election_timeout, -1, -1, 10 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("baton.failover_on_shutdown",
							 "A primary whose server is shut down hands the lead over first, if a replica is near.",
							 "Not in an immediate shutdown.",
							 &baton_failover_on_shutdown, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.shutdown_timeout",
							"Sets how long a shutdown of a primary's server may be held up to hand the lead over and to ship what is committed.",
							NULL,
							&baton_shutdown_timeout, 10000, 0, 10 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("baton.on_role_change",
							   "Sets the shell command that is run after each change of a node's state.",
							   "Placeholders: %r new state, %o old state, %n node, %g group, %t term, %l primary's name, %c its conninfo, %d database.",
							   &baton_on_role_change, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.on_role_change_timeout",
							"Sets how long baton.on_role_change may take before it is ended.",
							NULL,
							&baton_on_role_change_timeout, 60000, 100, 24 * 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.connect_timeout",
							"Sets how long a connection from node to node may take to be made.",
							NULL,
							&baton_connect_timeout, 5000, 100, 10 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.reconnect_max_delay",
							"Sets the longest pause between two attempts to connect to a node.",
							NULL,
							&baton_reconnect_max_delay, 5000, 100, 10 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("baton.max_clock_delta",
							"Sets the largest difference between the clocks of two nodes that still may join.",
							NULL,
							&baton_max_clock_delta, 2000, 10, 24 * 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("baton.session_token",
							   "Shows that a session belongs to an initial copy made by baton.",
							   NULL,
							   &baton_session_token, "",
							   PGC_USERSET,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   NULL, NULL, NULL);
}

/*
 * The election timeout in force, in ms: as set, or made from the heartbeat.  A lease
 * that is hardly longer than the time between two signs of life would lapse at each
 * hiccup.
 */
int
baton_effective_election_timeout(void)
{
	if (baton_election_timeout < 0)
		return 3 * baton_heartbeat_interval;
	return Max(baton_election_timeout, 2 * baton_heartbeat_interval);
}

/*
 * Define all settings; called once, by _PG_init.
 */
void
baton_define_settings(void)
{
	/* baton.max_nodes can only be made while the postmaster starts */
	if (!process_shared_preload_libraries_in_progress)
		return;
	define_stream_settings();
	define_group_settings();
	MarkGUCPrefixReserved("baton");
}
