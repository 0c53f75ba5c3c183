/*
 * slot.c - makes, drops and watches capture's replication slot.
 *
 * The slot is made once, when a node joins, and lives as long as the node does:
 * a slot that is lost and made again would skip data in silence, so nobody makes
 * it behind the coordinator's back.
 */
#include "capture/slot.h"

#include "access/xlog.h"
#include "capture/local_conn.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#define SLOT_STATEMENT_TIMEOUT_MS	10000
/* How often a wait for the slot is reported. */
#define WAIT_REPORT_MS	2000

void
capture_slot_name(const NodeShared *node, char *out)
{
	snprintf(out, NAMEDATALEN, "baton_%u", node->dboid);
}

/*
 * Copy what is known of the node's slot; false if there is none of that name.
 */
static bool
slot_look(NodeShared *node, ReplicationSlotPersistentData *data, pid_t *active_pid)
{
	char		name[NAMEDATALEN];
	ReplicationSlot *slot;

	if (max_replication_slots == 0)
		return false;
	capture_slot_name(node, name);
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(name, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		*data = slot->data;
		*active_pid = slot->active_pid;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return slot != NULL;
}

bool
capture_slot_exists(NodeShared *node)
{
	ReplicationSlotPersistentData data;
	pid_t		active_pid;

	return slot_look(node, &data, &active_pid) &&
		data.database == node->dboid &&
		data.persistency == RS_PERSISTENT &&
		strcmp(NameStr(data.plugin), "baton") == 0 &&
		data.restart_lsn != InvalidXLogRecPtr;
}

/*
 * Append to err which sessions the slot's creation waits for, as far as they can
 * be found out.
 */
static void
append_blockers(NodeShared *node, int pid, char *err, size_t errlen)
{
	char		sql[512];
	char		ignored[256];
	PGconn	   *conn = local_connect(node->dbname, false, "baton slot", NULL,
									 ignored, sizeof(ignored));
	PGresult   *result;

	if (conn == NULL)
		return;
	snprintf(sql, sizeof(sql),
			 "SELECT pg_catalog.string_agg(pg_catalog.format('%%s (%%s, %%s)', pid, "
			 "coalesce(datname, '-'), coalesce(nullif(application_name, ''), backend_type)), ', ') "
			 "FROM pg_catalog.pg_stat_activity "
			 "WHERE pid = ANY (pg_catalog.pg_blocking_pids(%d))", pid);
	result = local_exec(conn, sql, SLOT_STATEMENT_TIMEOUT_MS, ignored, sizeof(ignored));
	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
		!PQgetisnull(result, 0, 0))
	{
		size_t		len = strlen(err);

		snprintf(err + len, errlen - len, "; it waits for the transaction of session %s",
				 PQgetvalue(result, 0, 0));
	}
	PQclear(result);
	PQfinish(conn);
}

/*
 * Wait for the slot's creation.  Every WAIT_REPORT_MS go_on, if there is one, is
 * told whom it waits for, and says whether to.  Result as of local_wait_result().
 */
static int
wait_for_creation(NodeShared *node, PGconn *conn, int timeout_ms, SlotGoOn go_on)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	int			rc;

	if (go_on == NULL)
		return local_wait_result(conn, timeout_ms);
	while ((rc = local_wait_result(conn, WAIT_REPORT_MS)) == 0)
	{
		char		reason[BATON_ERROR_LEN] = "it takes long";

		append_blockers(node, PQbackendPID(conn), reason, sizeof(reason));
		if (!go_on(node, reason) ||
			(timeout_ms > 0 && GetCurrentTimestamp() >= until))
			break;
	}
	return rc;
}

/*
 * Run the slot's creation on a replication connection.  Who is waited for is
 * asked while the wait still lasts.
 */
static bool
create_waiting(NodeShared *node, PGconn *conn, int timeout_ms, SlotGoOn go_on,
			   char *err, size_t errlen)
{
	char		name[NAMEDATALEN];
	char		sql[256];
	char		reason[BATON_ERROR_LEN] = "";
	PGresult   *result;
	bool		ok;
	int			rc;

	capture_slot_name(node, name);
	snprintf(sql, sizeof(sql),
			 "CREATE_REPLICATION_SLOT \"%s\" LOGICAL \"baton\" NOEXPORT_SNAPSHOT", name);
	if (!PQsendQuery(conn, sql))
	{
		local_error_line(PQerrorMessage(conn), err, errlen);
		return false;
	}
	rc = wait_for_creation(node, conn, timeout_ms, go_on);
	if (rc == 0)
	{
		strlcpy(reason, "it takes long", sizeof(reason));
		append_blockers(node, PQbackendPID(conn), reason, sizeof(reason));
	}
	/* at a timeout there is nothing more to wait for: cancel */
	result = local_collect(conn, rc == 0 ? 1 : timeout_ms, err, errlen);
	ok = PQresultStatus(result) == PGRES_TUPLES_OK;
	if (!ok && reason[0] != '\0')
		strlcpy(err, reason, errlen);
	PQclear(result);
	return ok;
}

bool
capture_slot_create(NodeShared *node, int timeout_ms, SlotGoOn go_on,
					char *err, size_t errlen)
{
	PGconn	   *volatile conn;
	volatile bool ok = false;

	if (capture_slot_exists(node))
		return true;
	conn = local_connect(node->dbname, true, "baton slot", NULL, err, errlen);
	if (conn == NULL)
		return false;
	PG_TRY();
	{
		ok = create_waiting(node, conn, timeout_ms, go_on, err, errlen);
	}
	PG_FINALLY();
	{
		PQfinish(conn);
	}
	PG_END_TRY();
	return ok;
}

/*
 * Terminate who uses the slot and drop it, over an open connection.
 */
static bool
drop_over(NodeShared *node, PGconn *conn, char *err, size_t errlen)
{
	char		sql[512];
	char		name[NAMEDATALEN];
	PGresult   *result;
	bool		ok;

	capture_slot_name(node, name);
	/* pg_terminate_backend() with a timeout waits until the walsender is gone */
	snprintf(sql, sizeof(sql),
			 "SELECT pg_catalog.pg_terminate_backend(active_pid, 5000) "
			 "FROM pg_catalog.pg_replication_slots "
			 "WHERE slot_name = '%s' AND active_pid IS NOT NULL", name);
	PQclear(local_exec(conn, sql, SLOT_STATEMENT_TIMEOUT_MS, err, errlen));
	snprintf(sql, sizeof(sql),
			 "SELECT pg_catalog.pg_drop_replication_slot(slot_name) "
			 "FROM pg_catalog.pg_replication_slots WHERE slot_name = '%s'", name);
	result = local_exec(conn, sql, SLOT_STATEMENT_TIMEOUT_MS, err, errlen);
	ok = PQresultStatus(result) == PGRES_TUPLES_OK;
	PQclear(result);
	return ok;
}

bool
capture_slot_drop(NodeShared *node, char *err, size_t errlen)
{
	ReplicationSlotPersistentData data;
	pid_t		active_pid;
	PGconn	   *volatile conn;
	volatile bool ok = false;

	if (!slot_look(node, &data, &active_pid))
		return true;
	conn = local_connect(node->dbname, false, "baton slot", NULL, err, errlen);
	if (conn == NULL)
		return false;
	PG_TRY();
	{
		ok = drop_over(node, conn, err, errlen);
	}
	PG_FINALLY();
	{
		PQfinish(conn);
	}
	PG_END_TRY();
	return ok;
}

bool
capture_slot_enforce_keep_size(NodeShared *node)
{
	ReplicationSlotPersistentData data;
	pid_t		active_pid;
	XLogRecPtr	flushed;
	char		err[BATON_ERROR_LEN] = "";
	uint64		held;

	if (baton_slot_keep_size < 0 || !slot_look(node, &data, &active_pid) ||
		data.restart_lsn == InvalidXLogRecPtr)
		return false;
	flushed = GetFlushRecPtr(NULL);
	held = flushed > data.restart_lsn ? flushed - data.restart_lsn : 0;
	if (held <= (uint64) baton_slot_keep_size * 1024 * 1024)
		return false;

	if (!capture_slot_drop(node, err, sizeof(err)))
	{
		ereport(LOG,
				(errmsg("could not drop replication slot of database \"%s\"", node->dbname),
				 errdetail("%s", err)));
		return false;
	}
	snprintf(err, sizeof(err),
			 "the replication slot " CAPTURE_SLOT_TOO_LARGE " (" UINT64_FORMAT
			 " MB) and was dropped; the node needs a new initial copy", held / (1024 * 1024));
	SpinLockAcquire(&node->mutex);
	strlcpy(node->capture_error, err, sizeof(node->capture_error));
	SpinLockRelease(&node->mutex);
	ereport(LOG,
			(errmsg("node \"%s\": %s", node->dbname, err)));
	return true;
}
