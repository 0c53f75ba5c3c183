/*
 * ddl.c - carries out a command of the stream as it was given on the source: under
 * its role, with its settings, at its time.
 *
 * The command runs inside the local transaction, between the rows around it.  What
 * was open of tables is closed before, since their definitions may change.
 *
 * Rights.  The command has the rights of the role that gave it, no more; what it
 * calls cannot get at the worker's own, because it runs as a local user id change
 * does in a security-definer function: no SET ROLE gets out of it.
 */
#include "apply/apply.h"
#include "apply/ddl_index.h"
#include "apply/ddl_nested.h"
#include "apply/ddl_tablespace.h"

#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "capture/identity_mark.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "commands/matview.h"
#include "executor/spi.h"
#include "levels/level.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* What has to be put back when the command has run. */
typedef struct Surroundings
{
	Oid			user;
	int			context;
	int			guc_level;
	TimestampTz transaction_start;
	TimestampTz statement_start;
} Surroundings;

/*
 * now() as on the source.  PostgreSQL has a way to set these times for parallel
 * workers only.
 */
static void
set_times(TimestampTz transaction_start, TimestampTz statement_start)
{
	int			worker = ParallelWorkerNumber;

	ParallelWorkerNumber = 0;
	SetParallelStartTimestamps(transaction_start, statement_start);
	ParallelWorkerNumber = worker;
}

static void
set_for_command(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* A function's body was checked where it was made, and may be about tables that were
 * temporary there. */
static void
apply_settings(const RecordDdl *ddl)
{
	StreamCursor c = ddl->settings;

	for (int i = 0; i < ddl->n_settings; i++)
	{
		RecordSetting setting;

		record_get_setting(&c, &setting);
		/* a library that is loaded there only may have settings of its own */
		if (GetConfigOption(setting.name, true, false) == NULL)
			continue;
		set_for_command(setting.name, ddl_tablespace_setting(setting.name,
															 pnstrdup(setting.value, setting.len)));
	}
	set_for_command("check_function_bodies", "off");
}

static void
enter(Surroundings *s, const RecordDdl *ddl)
{
	/* without one it is a superuser's: the applier's own */
	Oid			role = ddl->role[0] == '\0' ? GetUserId() : get_role_oid(ddl->role, true);

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which has run a command of the stream, does not exist here", ddl->role)));
	s->transaction_start = GetCurrentTransactionStartTimestamp();
	s->statement_start = GetCurrentStatementStartTimestamp();
	s->guc_level = NewGUCNestLevel();
	apply_settings(ddl);
	GetUserIdAndSecContext(&s->user, &s->context);
	SetUserIdAndSecContext(role, s->context | SECURITY_LOCAL_USERID_CHANGE);
	set_times(ddl->transaction_start, ddl->statement_start);
}

static void
leave(const Surroundings *s)
{
	set_times(s->transaction_start, s->statement_start);
	SetUserIdAndSecContext(s->user, s->context);
	AtEOXact_GUC(true, s->guc_level);
}

/*
 * A function may have SET ROLE among its settings, which would be refused as if it were
 * to be done.  To define a function runs nobody's code, so nothing can make use of this.
 */
static void
allow_role_settings(void)
{
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(user, context & ~SECURITY_LOCAL_USERID_CHANGE);
}

/* The materialized view that the command makes or fills, or NULL. */
static RangeVar *
filled_view(Node *command)
{
	if (IsA(command, CreateTableAsStmt))
		return ((CreateTableAsStmt *) command)->into->rel;
	if (IsA(command, RefreshMatViewStmt))
		return ((RefreshMatViewStmt *) command)->relation;
	return NULL;
}

/* EXPLAIN ANALYZE of a command that makes something: the command. */
static Node *
explained(Node *command)
{
	Query	   *query;

	if (!IsA(command, ExplainStmt))
		return command;
	query = castNode(Query, ((ExplainStmt *) command)->query);
	return query->utilityStmt != NULL ? query->utilityStmt : command;
}

/* What runs alone on the source runs inside the transaction here; rows of what is
 * filled come by themselves. */
static void
adapt(Node *command, const RecordDdl *ddl)
{
	if (IsA(command, IndexStmt))
		((IndexStmt *) command)->concurrent = false;
	else if (IsA(command, DropStmt))
	{
		((DropStmt *) command)->concurrent = false;
		/* CREATE INDEX CONCURRENTLY that fails leaves one on the source only */
		if (((DropStmt *) command)->removeType == OBJECT_INDEX)
			((DropStmt *) command)->missing_ok = true;
	}
	else if (IsA(command, AlterTableStmt))
	{
		ListCell   *lc;

		foreach(lc, ((AlterTableStmt *) command)->cmds)
		{
			AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

			if (cmd->subtype == AT_DetachPartition)
				((PartitionCmd *) cmd->def)->concurrent = false;
		}
	}
	if ((ddl->flags & RECORD_DDL_NO_DATA) == 0)
		return;
	if (IsA(command, CreateTableAsStmt))
		((CreateTableAsStmt *) command)->into->skipData = true;
	else if (IsA(command, RefreshMatViewStmt))
	{
		((RefreshMatViewStmt *) command)->skipData = true;
		((RefreshMatViewStmt *) command)->concurrent = false;
	}
}

static void
mark_filled(Node *command)
{
	RangeVar   *view = filled_view(command);
	Relation	rel;

	if (view == NULL)
		return;
	rel = table_open(RangeVarGetRelid(view, AccessExclusiveLock, false), NoLock);
	if (rel->rd_rel->relkind == RELKIND_MATVIEW)
		SetMatViewPopulatedState(rel, true);
	table_close(rel, NoLock);
}

/*
 * Tables that the command may rewrite, and the storage that they have before.  Rows
 * of those that it has given new storage come from the source: what it has put there
 * itself goes.
 */
typedef struct Rewritten
{
	List	   *tables;
	List	   *storage;
} Rewritten;

static Oid
storage_of(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			storage = BATON_REL_FILE_NUMBER(rel);

	table_close(rel, NoLock);
	return storage;
}

static void
note_storage(Rewritten *w, Node *command)
{
	AlterTableStmt *stmt = (AlterTableStmt *) command;
	Oid			relid;
	ListCell   *lc;

	w->tables = w->storage = NIL;
	if (!IsA(command, AlterTableStmt))
		return;
	relid = RangeVarGetRelid(stmt->relation, AccessExclusiveLock, true);
	if (!OidIsValid(relid))
		return;
	w->tables = find_all_inheritors(relid, AccessExclusiveLock, NULL);
	foreach(lc, w->tables)
		w->storage = lappend_oid(w->storage, storage_of(lfirst_oid(lc)));
}

static void
empty_rewritten(const Rewritten *w)
{
	ListCell   *table;
	ListCell   *storage;

	forboth(table, w->tables, storage, w->storage)
	{
		Relation	rel = table_open(lfirst_oid(table), NoLock);

		/* storage of this transaction's own can be truncated in place */
		if (BATON_REL_FILE_NUMBER(rel) != lfirst_oid(storage))
			heap_truncate_one_rel(rel);
		table_close(rel, NoLock);
	}
}

static PlannedStmt *
utility_plan(Node *command, const RawStmt *raw)
{
	PlannedStmt *plan = makeNode(PlannedStmt);

	plan->commandType = CMD_UTILITY;
	plan->canSetTag = true;
	plan->utilityStmt = command;
	plan->stmt_location = raw->stmt_location;
	plan->stmt_len = raw->stmt_len;
	return plan;
}

static void
execute(PlannedStmt *plan, const char *text)
{
	if (IsA(plan->utilityStmt, CreateFunctionStmt) || IsA(plan->utilityStmt, AlterFunctionStmt))
		allow_role_settings();
	ddl_nested_begin(plan->utilityStmt);
	PG_TRY();
	{
		ProcessUtility(plan, text, false, PROCESS_UTILITY_TOPLEVEL, NULL, NULL, None_Receiver, NULL);
	}
	PG_FINALLY();
	{
		ddl_nested_end();
	}
	PG_END_TRY();
}

/*
 * The replication level of a table changes: what it holds here is not what the stream
 * brings from this place on, or not to be here at all.
 */
static void
take_level(LocalTransaction *t, Node *command)
{
	SecLabelStmt *label = (SecLabelStmt *) command;

	if (level_is_label(command) && label->objtype == OBJECT_TABLE)
		apply_empty_relation(t, RangeVarGetRelid(makeRangeVarFromNameList((List *) label->object),
												 AccessExclusiveLock, false));
}

/* An index that its primary has built, or dropped, beside everything else. */
static bool
leave_to_builder(LocalTransaction *t, Node *command, const char *text, const RecordDdl *ddl)
{
	bool		left = false;

	if (IsA(command, IndexStmt) && (ddl->flags & RECORD_DDL_ALONE))
	{
		((IndexStmt *) command)->concurrent = false;
		t->index_work |= ddl_index_build_later((IndexStmt *) command, text);
		left = true;
	}
	else if (IsA(command, DropStmt))
		t->index_work |= left = ddl_index_drop_later((DropStmt *) command);
	if (left)
		CommandCounterIncrement();
	return left;
}

static void
run(LocalTransaction *t, RawStmt *raw, const char *text, const RecordDdl *ddl)
{
	Query	   *query;
	Rewritten	rewritten = {NIL, NIL};
	PlannedStmt *plan;
	bool		snapshot = analyze_requires_snapshot(raw);

	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	query = linitial_node(Query, pg_analyze_and_rewrite_fixedparams(raw, text, NULL, 0, NULL));
	if (snapshot)
		PopActiveSnapshot();
	if (query->commandType != CMD_UTILITY)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a command of the stream is no command that changes definitions")));
	if (!apply_leave_out(query->utilityStmt, ddl))
		return;
	query->utilityStmt = explained(query->utilityStmt);
	apply_make_room(query->utilityStmt);
	if (!ddl_adapt_tablespaces(query->utilityStmt))
		return;
	if (leave_to_builder(t, query->utilityStmt, text, ddl))
		return;
	adapt(query->utilityStmt, ddl);
	if (ddl->flags & RECORD_DDL_ROWS)
		note_storage(&rewritten, query->utilityStmt);
	plan = utility_plan(query->utilityStmt, raw);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (ddl->flags & RECORD_DDL_INVALID)
		ddl_index_declare(castNode(IndexStmt, query->utilityStmt), text);
	else
		execute(plan, text);
	PopActiveSnapshot();
	CommandCounterIncrement();
	empty_rewritten(&rewritten);
	take_level(t, query->utilityStmt);
	if (ddl->flags & RECORD_DDL_NO_DATA)
		mark_filled(query->utilityStmt);
	if (ddl->flags & RECORD_DDL_BY_BATON && IsA(query->utilityStmt, AlterTableStmt))
		identity_mark(RangeVarGetRelid(((AlterTableStmt *) query->utilityStmt)->relation, NoLock, false));
	CommandCounterIncrement();
}

#define SHOWN_LENGTH	1000

/* A role that is missing is the likeliest cause of one kind of error. */
static void
show_command(void *arg)
{
	errcontext("command of the replication stream: %s", (const char *) arg);
	if (geterrcode() == ERRCODE_UNDEFINED_OBJECT)
		errhint("If a role is missing here, create it, then apply goes on; with baton.replicate_roles on, on both sides, roles come by themselves.");
}

/*
 * Carry out a DDL record.  Raises what the command raises, and
 * ERRCODE_UNDEFINED_OBJECT if its role does not exist here.
 */
void
apply_ddl(LocalTransaction *t, const Record *r)
{
	StreamError err = {0};
	Surroundings around;
	RecordDdl	ddl;
	char	   *text;
	ErrorContextCallback context = {error_context_stack, show_command, NULL};
	ListCell   *lc;

	if (record_get_ddl(r, &ddl, &err) != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("%s", err.message)));
	apply_flush_inserts(t, NULL);
	open_relation_close_all(t);
	local_become_self(t);
	local_make_visible(t);

	text = pnstrdup(ddl.text, ddl.len);
	context.arg = pnstrdup(ddl.text, pg_mbcliplen(ddl.text, ddl.len, SHOWN_LENGTH));
	error_context_stack = &context;
	enter(&around, &ddl);
	foreach(lc, pg_parse_query(text))
		run(t, lfirst_node(RawStmt, lc), text, &ddl);
	leave(&around);
	error_context_stack = context.previous;
	UpdateActiveSnapshotCommandId();
}
