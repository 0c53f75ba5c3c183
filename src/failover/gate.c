/*
 * gate.c - the gate itself: who may pass, who waits, who is refused.
 *
 *            reads     new writer        transaction that writes   commit with an xid
 *   OPEN     pass      pass              pass                      pass
 *   DRAIN    pass      wait              pass                      pass
 *   HELD     pass      wait              wait                      wait
 *   CLOSED   pass      refused           refused                   refused
 *
 * Who waits goes on as if nothing had happened when the gate opens again, and is
 * refused when it closes.  Reads of a transaction that writes wait at HELD too,
 * for they may call functions that write.  In a closed database every transaction
 * is read-only by PostgreSQL's own rules as well (gate_readonly.c), so that what
 * the gate does not know is refused by those; and whatever got an xid all the
 * same is refused at its commit.
 *
 * An open gate counts only as long as the primary has its lease: before each write
 * and each commit the clock is compared with node->lease_until.  The coordinator
 * closes the gate when the lease is lost, but that takes a moment, or as long as a
 * server was frozen.
 *
 * Between a session and the coordinator there is no lock, only the order of two
 * writes and two reads.  A session shows its mark, then reads the gate; the
 * coordinator sets the gate, then reads the marks; with a full barrier between
 * each.  So either the session sees the new gate, or the coordinator sees the
 * mark: nobody slips through unseen.  A session that shows a mark and then finds
 * the gate not open takes it back before it waits.
 */
#include "failover/gate_internal.h"

#include "failover/commit_guard.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "postmaster/autovacuum.h"
#include "replication/message.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

bool		baton_worker_exempt = false;

GateXact	gate_xact;
int			gate_maintenance_depth = 0;
NodeShared *gate_my_node = NULL;

/* Slots stand apart, so that backends on different processors don't share lines. */
typedef union GateSlotPadded
{
	GateSlot	slot;
	char		pad[PG_CACHE_LINE_SIZE];
} GateSlotPadded;

static GateSlotPadded *gate_slot_array = NULL;
static GateSlot *my_slot = NULL;

/* ---- shared memory ---- */

/* PGPROCs of processes that can be connected to a database come first. */
int
gate_slots(void)
{
	return MaxBackends;
}

Size
gate_shmem_size(void)
{
	return mul_size(gate_slots(), sizeof(GateSlotPadded));
}

/* Called in the shared memory startup hook, with AddinShmemInitLock held. */
void
gate_shmem_init(void)
{
	bool		found;

	gate_slot_array = ShmemInitStruct("baton gate", gate_shmem_size(), &found);
	if (found)
		return;
	memset(gate_slot_array, 0, gate_shmem_size());
	for (int i = 0; i < gate_slots(); i++)
		pg_atomic_init_u32(&gate_slot_array[i].slot.mark, MARK_IDLE);
}

GateSlot *
gate_slot(int procno)
{
	return &gate_slot_array[procno].slot;
}

static GateSlot *
gate_attach(void)
{
	int			procno = MyProc - ProcGlobal->allProcs;

	if (procno >= gate_slots())
		elog(ERROR, "process %d has no slot at the gate", MyProcPid);
	my_slot = gate_slot(procno);
	pg_atomic_write_u32(&my_slot->mark, MARK_IDLE);
	my_slot->session = SESSION_NONE;
	my_slot->pid = MyProcPid;
	return my_slot;
}

static inline void
show(GateMark mark)
{
	GateSlot   *slot = my_slot ? my_slot : gate_attach();

	pg_atomic_write_u32(&slot->mark, mark);
}

static inline GateMark
shown(void)
{
	return my_slot ? (GateMark) pg_atomic_read_u32(&my_slot->mark) : MARK_IDLE;
}

/* Remember, for the coordinator, what kind of session this is. */
void
gate_show_session(GateSession session)
{
	GateSlot   *slot = my_slot ? my_slot : gate_attach();

	slot->session = session;
}

/* ---- whose gate ---- */

/*
 * The node of this database, looked for each time as long as there is none: one
 * can come into being at any time.  Parallel workers write nothing, and their
 * leader has passed; autovacuum changes no data.
 */
NodeShared *
gate_find_node(void)
{
	gate_my_node = NULL;
	if (!OidIsValid(MyDatabaseId) || IsParallelWorker() ||
		baton_am_autovacuum_worker())
		return NULL;
	gate_my_node = node_mine();
	if (gate_my_node == NULL && unlikely(gate_read_only_is_ours()))
		gate_release_read_only();
	return gate_my_node;
}

/*
 * Does this session show the token of the node's initial copy?  Such a session
 * restores the copy and may write; a read-only default that the login gave it is
 * taken back.
 */
bool
gate_session_exempt(NodeShared *node)
{
	bool		exempt;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	exempt = node->session_token[0] != '\0' &&
		strcmp(node->session_token, baton_session_token) == 0;
	LWLockRelease(&node->state_lock);
	if (exempt && gate_read_only_is_ours())
		gate_release_read_only();
	return exempt;
}

bool
gate_session_writes_locally(NodeShared *node)
{
	return baton_session_token != NULL && baton_session_token[0] != '\0' &&
		gate_session_exempt(node);
}

/* The gate's state; a node that has been removed has no gate. */
GateState
gate_state(NodeShared *node)
{
	if (unlikely(node->dboid != MyDatabaseId))
		return GATE_OPEN;
	return (GateState) pg_atomic_read_u32(&node->gate);
}

/* ---- waiting and refusing ---- */

/* Wait, interruptibly, until the gate's state is no longer `seen`. */
static void
gate_wait(NodeShared *node, GateState seen)
{
	ConditionVariablePrepareToSleep(&node->gate_cv);
	while (gate_state(node) == seen)
		ConditionVariableSleep(&node->gate_cv, PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
}

/*
 * Raises ERRCODE_READ_ONLY_SQL_TRANSACTION for a command that would write, with
 * the node's reason as detail, if it has one, and the primary's address as hint.
 */
void
gate_refuse(NodeShared *node, const char *command)
{
	char	   *dbname = get_database_name(MyDatabaseId);
	char	   *reason = gate_reason(node);

	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot execute %s: database \"%s\" is not the primary of its group",
					command, dbname ? dbname : node->dbname),
			 reason ? errdetail("Reason: %s.", reason) : 0,
			 errhint("%s", gate_primary_hint(node))));
}

/* The gate is open, but what is written here may not count any more. */
static void
gate_refuse_lapsed(NodeShared *node, const char *command)
{
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot execute %s: the lease of this primary has lapsed", command),
			 errdetail("Too few voters have been heard from within the lease, so another node may lead."),
			 errhint("%s", gate_primary_hint(node))));
}

/*
 * Does this node still have its lease?  An atomic read, and a clock only where
 * there are voters to be heard from.
 */
bool
gate_lease_holds(NodeShared *node)
{
	uint64		until = pg_atomic_read_u64(&node->lease_until);

	return until == LEASE_UNLIMITED || boot_ms() < until;
}

/* An open gate that counts no more; a node that has been removed has no lease. */
static bool
lapsed(NodeShared *node)
{
	return unlikely(!gate_lease_holds(node)) && node->dboid == MyDatabaseId;
}

/* ---- statements ---- */

/* Make the transaction's and the session's read-only mode follow the gate. */
void
gate_follow(NodeShared *node)
{
	if (unlikely(gate_state(node) == GATE_CLOSED))
		gate_force_read_only();
	else if (unlikely(gate_read_only_is_ours()))
		gate_release_read_only();
}

/* Pass with something that writes nothing itself, but may call what does. */
void
gate_enter_read(NodeShared *node)
{
	while (unlikely(gate_state(node) == GATE_HELD && gate_xact.writer))
		gate_wait(node, GATE_HELD);
	gate_follow(node);
}

/*
 * Pass with something that writes, or takes locks that writers wait for.  Waits
 * where the table at the head of this file says so.  Raises
 * ERRCODE_READ_ONLY_SQL_TRANSACTION, naming `command`, if the gate is closed or the
 * lease has lapsed.
 */
void
gate_enter_write(NodeShared *node, const char *command)
{
	GateMark	before = shown();
	bool		under_way = gate_xact.writer ||
		TransactionIdIsValid(GetTopTransactionIdIfAny());

	for (;;)
	{
		GateState	state;

		show(MARK_WRITER);
		pg_memory_barrier();
		state = gate_state(node);
		if ((state == GATE_OPEN || state == GATE_DRAIN) && lapsed(node))
		{
			show(before);
			gate_refuse_lapsed(node, command);
		}
		if (state == GATE_OPEN || (state == GATE_DRAIN && under_way))
			break;
		if (state == GATE_CLOSED)
		{
			show(before);
			gate_follow(node);
			gate_refuse(node, command);
		}
		if (!under_way)
			show(MARK_WAITING);
		gate_wait(node, state);
	}
	gate_xact.writer = true;
	if (gate_read_only_is_ours())
		gate_release_read_only();
}

/*
 * Pass with COMMIT PREPARED or ROLLBACK PREPARED.  No callback comes before
 * their commit, and no xid is seen in this backend: the mark stays until the end
 * of the surrounding transaction.
 */
void
gate_enter_commit_prepared(NodeShared *node, const char *command)
{
	for (;;)
	{
		GateState	state;

		show(MARK_COMMIT_PREPARED);
		pg_memory_barrier();
		state = gate_state(node);
		if ((state == GATE_OPEN || state == GATE_DRAIN) && !lapsed(node))
			return;
		show(MARK_WAITING);
		if (state == GATE_OPEN || state == GATE_DRAIN)
			gate_refuse_lapsed(node, command);
		if (state == GATE_CLOSED)
			gate_refuse(node, command);
		gate_wait(node, state);
	}
}

/* ---- what is let through though it gets an xid ---- */

/*
 * The transaction is about to get an xid for temporary tables, or only for the
 * xid's sake.  Nobody has to wait for its end then, unless it writes later.
 */
void
gate_note_temporary(void)
{
	gate_xact.temporary = true;
	if (shown() == MARK_IDLE && !TransactionIdIsValid(GetTopTransactionIdIfAny()))
		show(MARK_EXEMPT);
}

/* The transaction writes this table of baton's, which is nobody else's business. */
void
gate_note_local_table(Oid relid)
{
	gate_note_temporary();
	gate_xact.local_table = relid;
}

/*
 * Sequences are moving, or have moved when the transaction ends: nextval() mostly
 * leaves no other trace.
 */
void
gate_note_sequence(NodeShared *node)
{
	gate_xact.sequences = true;
	pg_atomic_fetch_add_u64(&node->sequence_uses, 1);
}

/*
 * Before the commit of a transaction that has used nextval().  What it has drawn may
 * lie in a reserve that another session has logged, and nobody else has that yet; the
 * client would have a value that a new primary hands out again.  So under an ack policy
 * the transaction writes something, and then waits in its commit as all that write do.
 */
void
gate_make_draws_wait(void)
{
	if (gate_my_node == NULL ||
		pg_atomic_read_u32(&gate_my_node->ack_policy) == ACK_NONE ||
		gate_state(gate_my_node) == GATE_CLOSED)
		return;
	(void) GetTopTransactionId();
	if (XLogRecPtrIsInvalid(XactLastRecEnd))
		(void) baton_log_marker("baton");
}

/* Around VACUUM and its kind, which run transactions of their own. */
void
gate_maintenance_begin(void)
{
	gate_maintenance_depth++;
	gate_xact.maintenance = true;
	if (shown() == MARK_IDLE && !TransactionIdIsValid(GetTopTransactionIdIfAny()))
		show(MARK_EXEMPT);
}

void
gate_maintenance_end(void)
{
	Assert(gate_maintenance_depth > 0);
	gate_maintenance_depth--;
	gate_xact.maintenance = true;
}

/* ---- the end of a transaction ---- */

/*
 * The check before commit, or before PREPARE TRANSACTION.  Waits at HELD.  Raises
 * ERRCODE_READ_ONLY_SQL_TRANSACTION if the gate is closed, or the lease has lapsed,
 * and the transaction has changed anything that is not exempt.  Notes for
 * commit_guard_check() what is not.
 */
void
gate_pre_commit(NodeShared *node)
{
	commit_guard_arm(node);
	if (gate_maintenance_depth > 0 && !gate_xact.writer)
		return;
	for (;;)
	{
		GateState	state;

		show(MARK_COMMITTING);
		pg_memory_barrier();
		state = gate_state(node);
		if (likely(state == GATE_OPEN || state == GATE_DRAIN) && likely(!lapsed(node)))
		{
			if (!gate_changes_are_harmless())
				commit_guard_passed(node);
			return;
		}
		show(MARK_WRITER);
		if (gate_changes_are_harmless())
		{
			show(MARK_EXEMPT);
			return;
		}
		if (state == GATE_OPEN || state == GATE_DRAIN)
			gate_refuse_lapsed(node, "COMMIT");
		if (state == GATE_CLOSED)
			gate_refuse(node, "COMMIT");
		gate_wait(node, state);
	}
}

/*
 * After commit, abort or prepare, when the xid is no longer shown: the next
 * transaction begins afresh.
 */
void
gate_xact_end(void)
{
	GateMark	mark = gate_maintenance_depth > 0 ? MARK_EXEMPT : MARK_IDLE;
	GateMark	before = shown();
	GateState	state;

	if (gate_xact.sequences && gate_my_node != NULL)
		pg_atomic_fetch_add_u64(&gate_my_node->sequence_uses, 1);
	memset(&gate_xact, 0, sizeof(gate_xact));
	if (before == mark)
		return;
	show(mark);
	if (before == MARK_EXEMPT || gate_my_node == NULL)
		return;
	/* the coordinator waits for the last one, having set the gate before it looked */
	pg_memory_barrier();
	state = gate_state(gate_my_node);
	if (unlikely(state == GATE_DRAIN || state == GATE_HELD))
		node_wake(gate_my_node, WORKER_COORDINATOR);
}
