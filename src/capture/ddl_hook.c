/*
 * ddl_hook.c - brings commands that change definitions into the stream.
 *
 * Each such command of a primary is written to WAL as a transactional message just
 * before it runs, and so lies in the stream inside its transaction, at its place:
 * behind the rows that came before it, in front of those that follow, and it goes
 * away with a savepoint or transaction that is rolled back.  A command that commits
 * by itself (CREATE INDEX CONCURRENTLY) is written when it has succeeded; of an index
 * the definition is written before (ddl_index.c).
 *
 * What is written is the command's text with all that gives it its meaning: role,
 * settings, the times that now() gives.  Two kinds are written as something else,
 * for their rows travel as rows: CREATE TABLE AS as the definition that it amounts
 * to, and a materialized view, or its REFRESH, as one WITH NO DATA.
 *
 * Written is what a session runs by itself, or a function or DO block does; not what
 * a command or an extension's script does in its own course, for that happens on
 * the replica all the same.
 *
 * Roles and what else all databases share travel as rows (roles.c), whoever changes
 * them: an extension's script too, for its passwords get other hashes elsewhere.
 *
 * Anybody may write messages to WAL.  Ours carry a mark that only the server can make
 * (message_mac.c), and the output plugin takes no others.
 */
#include "capture/ddl.h"

#include "access/xact.h"
#include "capture/message_mac.h"
#include "capture/roles.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "failover/gate.h"
#include "levels/level.h"
#include "miscadmin.h"
#include "stream/record.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

static ProcessUtility_hook_type prev_process_utility = NULL;

/* What changes the meaning of a command's text, or of what it makes. */
static const char *const carried_settings[] = {
	"search_path", "datestyle", "intervalstyle", "timezone",
	"standard_conforming_strings", "backslash_quote", "array_nulls", "xmloption",
	"transform_null_equals", "lc_monetary", "lc_numeric", "default_text_search_config",
	"default_tablespace", "default_table_access_method", "default_toast_compression",
	"password_encryption", "bytea_output", "extra_float_digits",
	"plpgsql.variable_conflict",
};

static void
put_setting(RecordSetting *setting, const char *name, const char *value)
{
	strlcpy(setting->name, name, sizeof(setting->name));
	setting->value = pstrdup(value);
	setting->len = strlen(value);
}

static int
collect_settings(RecordSetting *settings)
{
	int			n = 0;

	for (int i = 0; i < lengthof(carried_settings); i++)
	{
		const char *value = GetConfigOption(carried_settings[i], true, false);

		if (value != NULL)
			put_setting(&settings[n++], carried_settings[i], value);
	}
	return n;
}

void
ddl_log(NodeShared *node, const char *text, uint8 flags)
{
	ddl_log_as(node, text, flags, NULL, GetUserNameFromId(GetUserId(), false));
}

void
ddl_log_as(NodeShared *node, const char *text, uint8 flags, const char *left_out, const char *role)
{
	RecordSetting settings[lengthof(carried_settings) + 1];
	StreamBuf	buf = {0};
	RecordDdl	ddl = {0};

	ddl.flags = flags;
	ddl.transaction_start = GetCurrentTransactionStartTimestamp();
	ddl.statement_start = GetCurrentStatementStartTimestamp();
	strlcpy(ddl.role, role, sizeof(ddl.role));
	ddl.n_settings = collect_settings(settings);
	if (left_out != NULL)
		put_setting(&settings[ddl.n_settings++], DDL_LEFT_OUT, left_out);
	ddl.text = text;
	ddl.len = strlen(text);

	message_begin(&buf);
	record_put_ddl_body(&buf, &ddl, settings);
	message_log(node, DDL_MESSAGE_PREFIX, &buf);
}

static void
log_command(NodeShared *node, const DdlCommand *command, uint8 more_flags)
{
	ddl_log_as(node, command->text, command->flags | more_flags, command->left_out,
			   GetUserNameFromId(GetUserId(), false));
}

/* The node whose stream gets what this session does, or NULL. */
static NodeShared *
node_of_session(void)
{
	NodeShared *node = baton_worker_exempt ? NULL : node_mine();

	if (node == NULL || gate_session_writes_locally(node) ||
		pg_atomic_read_u32(&node->gate) == GATE_CLOSED)
		return NULL;
	return node;
}

/* The command runs, and what it does to levels is looked at. */
static void
run_command(ProcessUtility_hook_type next, PlannedStmt *stmt, const char *query,
			bool read_only_tree, ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	LevelScope	outer;

	level_enter(stmt->utilityStmt, &outer);
	PG_TRY();
	{
		next(stmt, query, read_only_tree, context, params, env, dest, completion);
	}
	PG_CATCH();
	{
		level_forget(&outer);
		PG_RE_THROW();
	}
	PG_END_TRY();
	level_leave(&outer);
}

static void
ddl_process_utility(PlannedStmt *stmt, const char *query, bool read_only_tree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type next = prev_process_utility ?
		prev_process_utility : standard_ProcessUtility;
	NodeShared *node = node_of_session();
	bool		whole = context != PROCESS_UTILITY_SUBCOMMAND && !creating_extension;
	DdlCommand	command = {0};
	DdlDetach	detach;
	DdlIndex	index = {0};
	char	   *stays = node != NULL && whole ? ddl_unsupported(stmt->utilityStmt) : NULL;
	bool		alters = IsA(stmt->utilityStmt, AlterTableStmt);
	RoleCommand roles = {0};
	bool		prepared = IsA(stmt->utilityStmt, TransactionStmt) &&
		((TransactionStmt *) stmt->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;

	if (node != NULL && whole && level_is_label(stmt->utilityStmt))
	{
		level_label(node, (SecLabelStmt *) stmt->utilityStmt);
		return;
	}
	if (node != NULL && whole)
		ddl_classify(stmt, query, params, &command);
	if (!baton_worker_exempt)
		role_command_begin(&roles, stmt->utilityStmt, node);
	if (prepared)
		roles_commit_prepared(node != NULL);
	if (command.when > DDL_STAYS)
		roles_log_needed(node);
	if (command.when == DDL_BEFORE)
		log_command(node, &command, 0);
	else if (command.when == DDL_AFTER)
		ddl_detach_before(stmt->utilityStmt, &detach);
	if (node != NULL && whole && (command.when == DDL_AFTER || IsA(stmt->utilityStmt, ReindexStmt) ||
								   IsA(stmt->utilityStmt, ClusterStmt)))
		ddl_index_before(node, stmt->utilityStmt, &index);
	if (command.when == DDL_NOT)
		next(stmt, query, read_only_tree, context, params, env, dest, completion);
	else
		run_command(next, stmt, query, read_only_tree, context, params, env, dest, completion);
	if (alters)
		replica_identity_command((AlterTableStmt *) stmt->utilityStmt);
	if (command.when == DDL_AFTER)
	{
		command.text = ddl_index_made(&index, command.text);
		if (command.text != NULL)
			log_command(node, &command, RECORD_DDL_ALONE);
		ddl_detach_after(node, &detach);
	}
	else if (command.when == DDL_REFRESH)
		level_send_view(node, RangeVarGetRelid(((RefreshMatViewStmt *) stmt->utilityStmt)->relation,
											   NoLock, false));
	if (index.invalid != NIL || index.clustered != NULL)
		ddl_index_after(node, &index);
	if (command.when != DDL_NOT)
		replica_identity_check(node);
	role_command_end(&roles);
	if (stays != NULL)
		ereport(WARNING,
				(errmsg("%s", stays),
				 errhint("See baton.unsupported.")));
}

/* Called by _PG_init, before the gate's hooks: these then come first. */
void
ddl_install_hooks(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = ddl_process_utility;
	ddl_index_install_hooks();
}
