/*
 * ddl_classify.c - which commands change definitions, and how each travels.
 *
 * The gate knows which commands write.  Of these the ones below do not travel as
 * commands: their rows travel, or what they do is this server's own business.
 * A command that is not known here travels.
 */
#include "capture/ddl.h"

#include "capture/roles.h"
#include "commands/defrem.h"
#include "failover/gate.h"
#include "levels/level.h"
#include "nodes/parsenodes.h"
#include "stream/record.h"

/* The command's own part of a string with several. */
static char *
own_text(const PlannedStmt *stmt, const char *query)
{
	int			start = stmt->stmt_location > 0 ? stmt->stmt_location : 0;
	int			len = stmt->stmt_len > 0 ? stmt->stmt_len : (int) strlen(query) - start;

	return pnstrdup(query + start, len);
}

/* Commands that write but are carried as rows, or not at all. */
static bool
stays_here(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
			/* rows */
		case T_CopyStmt:
		case T_TruncateStmt:
			/* what they run comes through the hook by itself */
		case T_CallStmt:
		case T_DoStmt:
		case T_ExecuteStmt:
			/* of the server, or of another database */
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_CreateTableSpaceStmt:
		case T_DropTableSpaceStmt:
		case T_AlterTableSpaceOptionsStmt:
		case T_AlterSystemStmt:
			/* a subscription on every node would draw the same data as often */
		case T_CreateSubscriptionStmt:
		case T_AlterSubscriptionStmt:
		case T_DropSubscriptionStmt:
		case T_TransactionStmt:
		case T_LockStmt:
		case T_DiscardStmt:
			return true;
		default:
			/* told by rows, or of the server */
			return role_command_stays(parsetree);
	}
}

ObjectType
ddl_object_type(Node *parsetree, Node **object)
{
	*object = NULL;
	switch (nodeTag(parsetree))
	{
		case T_CommentStmt:
			*object = ((CommentStmt *) parsetree)->object;
			return ((CommentStmt *) parsetree)->objtype;
		case T_SecLabelStmt:
			*object = ((SecLabelStmt *) parsetree)->object;
			return ((SecLabelStmt *) parsetree)->objtype;
		case T_AlterOwnerStmt:
			*object = ((AlterOwnerStmt *) parsetree)->object;
			return ((AlterOwnerStmt *) parsetree)->objectType;
		case T_RenameStmt:
			return ((RenameStmt *) parsetree)->renameType;
		case T_GrantStmt:
			return ((GrantStmt *) parsetree)->objtype;
		default:
			return OBJECT_TABLE;
	}
}

/* Does it commit by itself? */
static bool
runs_alone(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_IndexStmt:
			return ((IndexStmt *) parsetree)->concurrent;
		case T_DropStmt:
			return ((DropStmt *) parsetree)->concurrent;
		case T_AlterTableStmt:
			{
				ListCell   *lc;

				foreach(lc, ((AlterTableStmt *) parsetree)->cmds)
				{
					AlterTableCmd *cmd = (AlterTableCmd *) lfirst(lc);

					if (cmd->subtype == AT_DetachPartition &&
						((PartitionCmd *) cmd->def)->concurrent)
						return true;
				}
				return false;
			}
		default:
			return false;
	}
}

/* CREATE TABLE AS, also inside EXPLAIN ANALYZE; NULL for others. */
static CreateTableAsStmt *
table_as(Node *parsetree)
{
	if (IsA(parsetree, ExplainStmt))
	{
		Query	   *query = (Query *) ((ExplainStmt *) parsetree)->query;

		parsetree = IsA(query, Query) ? query->utilityStmt : NULL;
	}
	return parsetree != NULL && IsA(parsetree, CreateTableAsStmt) ?
		(CreateTableAsStmt *) parsetree : NULL;
}

/* REFRESH, whose rows travel.  Where it looks for differences only, the replica finds
 * them by itself. */
static bool
fills_view(Node *parsetree)
{
	RefreshMatViewStmt *refresh = (RefreshMatViewStmt *) parsetree;

	return IsA(parsetree, RefreshMatViewStmt) && !refresh->skipData && !refresh->concurrent;
}

/* What stays here would be looked for there, and others of the same name found. */
static char *
drop_text(DropStmt *stmt, char *text)
{
	static const struct
	{
		ObjectType	type;
		const char *kind;
	}			kinds[] = {
		{OBJECT_TABLE, "TABLE"}, {OBJECT_VIEW, "VIEW"}, {OBJECT_SEQUENCE, "SEQUENCE"},
		{OBJECT_INDEX, "INDEX"},
	};

	for (int i = 0; i < lengthof(kinds); i++)
		if (stmt->removeType == kinds[i].type)
		{
			char	   *lasting = ddl_drop_lasting(stmt, kinds[i].kind);

			return lasting != NULL ? lasting : text;
		}
	return text;
}

/* One that looks for differences, where replicas may have less of the view's tables. */
static bool
refreshes_from_less(Node *parsetree)
{
	return IsA(parsetree, RefreshMatViewStmt) && ((RefreshMatViewStmt *) parsetree)->concurrent &&
		levels_in_use();
}

void
ddl_classify(PlannedStmt *stmt, const char *query, ParamListInfo params, DdlCommand *command)
{
	Node	   *parsetree = stmt->utilityStmt;
	Node	   *object;
	CreateTableAsStmt *as;

	command->when = DDL_NOT;
	if (!gate_command_changes_definitions(parsetree) || stays_here(parsetree) ||
		ddl_object_type(parsetree, &object) == OBJECT_SUBSCRIPTION)
		return;
	command->when = DDL_STAYS;
	if (ddl_stays(parsetree))
		return;
	if (refreshes_from_less(parsetree))
	{
		command->when = DDL_REFRESH;
		return;
	}
	as = table_as(parsetree);
	if (as != NULL && as->objtype == OBJECT_TABLE)
		command->text = ddl_table_as(as, params);
	else if (IsA(parsetree, DropStmt))
		command->text = drop_text((DropStmt *) parsetree, own_text(stmt, query));
	else if (IsA(parsetree, CreateStmt))
		command->text = ddl_like_expanded((CreateStmt *) parsetree, own_text(stmt, query),
										  stmt->stmt_location);
	else
		command->text = own_text(stmt, query);
	if (command->text == NULL)
		return;
	if ((as != NULL && as->objtype == OBJECT_MATVIEW && !as->into->skipData) ||
		fills_view(parsetree))
		command->flags |= RECORD_DDL_NO_DATA;
	if (IsA(parsetree, AlterTableStmt) && ddl_rows_differ((AlterTableStmt *) parsetree))
		command->flags |= RECORD_DDL_ROWS;
	command->left_out = level_left_out(parsetree);
	command->when = runs_alone(parsetree) ? DDL_AFTER : DDL_BEFORE;
}
