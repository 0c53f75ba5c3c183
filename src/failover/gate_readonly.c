/*
 * gate_readonly.c - PostgreSQL's own read-only mode as the gate's helper.
 *
 * While the gate is closed, XactReadOnly is forced at every statement, whatever
 * the user has set: SET TRANSACTION READ WRITE, a function's SET clause and a
 * rolled back savepoint last until the next statement at most.  The session's
 * default_transaction_read_only follows the gate too, but only to be seen:
 * libpq's target_session_attrs and pools look at it.
 *
 * When the gate opens, both are taken back, unless the user asked for READ ONLY
 * by himself.  A serializable transaction that has its snapshot keeps the mode to
 * its end: predicate locking has been told that it does not write.
 */
#include "failover/gate_internal.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* default_transaction_read_only is the gate's doing; what it was before. */
static bool session_default_is_ours = false;
static bool session_default_before = false;

bool
gate_read_only_is_ours(void)
{
	return session_default_is_ours || gate_xact.read_only_forced;
}

/*
 * Set, or take back, default_transaction_read_only for this session.  The source
 * "override" is stronger than any start-up option and weaker than the user's SET.
 */
void
gate_set_session_default(bool read_only)
{
	if (session_default_is_ours == read_only)
		return;
	if (read_only)
		session_default_before = DefaultXactReadOnly;
	else
		read_only = session_default_before;
	session_default_is_ours = !session_default_is_ours;
	SetConfigOption("default_transaction_read_only", read_only ? "on" : "off",
					PGC_USERSET, PGC_S_OVERRIDE);
}

/* The gate is closed: this transaction is read-only from here on. */
void
gate_force_read_only(void)
{
	if (!gate_xact.read_only_seen)
	{
		gate_xact.read_only_seen = true;
		/* began with the session's default, which is ours */
		if (XactReadOnly && session_default_is_ours)
			gate_xact.read_only_forced = true;
	}
	if (!XactReadOnly)
	{
		XactReadOnly = true;
		gate_xact.read_only_forced = true;
	}
	/* settings cannot be changed in parallel mode */
	if (!session_default_is_ours && !IsInParallelMode() && MyProcPort != NULL)
		gate_set_session_default(true);
}

/* The gate is no longer closed: take back what is ours. */
void
gate_release_read_only(void)
{
	bool		forced = gate_xact.read_only_forced ||
		(session_default_is_ours && !gate_xact.read_only_seen && XactReadOnly);

	if (session_default_is_ours && !IsInParallelMode())
		gate_set_session_default(false);
	if (!forced || !IsTransactionState())
		return;
	gate_xact.read_only_forced = false;
	if (!DefaultXactReadOnly && !(IsolationIsSerializable() && FirstSnapshotSet))
		XactReadOnly = false;
}
