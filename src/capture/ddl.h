/*
 * ddl.h - which commands travel in the stream, and as what.
 */
#ifndef BATON_DDL_H
#define BATON_DDL_H

#include "baton.h"

#include "catalog/objectaddress.h"
#include "nodes/params.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"

/* The message that a command is in WAL: its mark (message_mac.h); u32 subxid; a DDL
 * record's body. */
#define DDL_MESSAGE_PREFIX	"baton.ddl"

typedef enum DdlWhen
{
	DDL_NOT = 0,				/* no command for the stream */
	DDL_BEFORE,					/* it is written before it runs */
	DDL_AFTER					/* it commits by itself: written when it has succeeded */
} DdlWhen;

typedef struct DdlCommand
{
	DdlWhen		when;
	uint8		flags;			/* RECORD_DDL_* */
	const char *text;			/* what the replica is to run; palloc'd */
} DdlCommand;

extern void ddl_install_hooks(void);
/* Write one command to WAL, as if the session had run it; flags: RECORD_DDL_*. */
extern void ddl_log(NodeShared *node, const char *text, uint8 flags);

/* replica_identity.c */
extern void replica_identity_install_hooks(void);
/* A command is over: tables that it leaves without a key get REPLICA IDENTITY FULL. */
extern void replica_identity_check(NodeShared *node);
/* ALTER TABLE has run, on a primary or as the stream says: does it set a replica identity? */
extern void replica_identity_command(AlterTableStmt *stmt);

/* ddl_classify.c: fills in *command, DDL_NOT for what does not travel. */
extern void ddl_classify(PlannedStmt *stmt, const char *query, ParamListInfo params,
						 DdlCommand *command);

/* ddl_detach.c: around DETACH PARTITION ... CONCURRENTLY */
typedef struct DdlDetach
{
	Oid			partition;		/* InvalidOid: another command */
	List	   *checks;			/* its check constraints before */
} DdlDetach;

extern void ddl_detach_before(Node *parsetree, DdlDetach *detach);
extern void ddl_detach_after(NodeShared *node, const DdlDetach *detach);

/* ddl_temporary.c: is the command about temporary objects only? */
extern bool ddl_is_temporary(Node *parsetree);

/* A DROP of relations, temporary ones among them, without these; kind: "TABLE" ...  NULL if
 * none is temporary. */
extern char *ddl_drop_lasting(DropStmt *stmt, const char *kind);

/* ddl_depends.c: does the object go when something temporary goes, and does the command
 * make one that will? */
extern bool ddl_depends_on_temporary(const ObjectAddress *address);
extern bool ddl_is_made_of_temporary(Node *parsetree);

/* ddl_like.c: the command's text, with the columns of temporary tables where it has LIKE and
 * their names; stmt_location: where it began in the string that was parsed, or -1.  WARNING
 * for an index that LIKE copies on this node alone. */
extern char *ddl_like_expanded(CreateStmt *stmt, char *text, int stmt_location);

/* ddl_volatile.c: would the rows that the command makes differ from node to node? */
extern bool ddl_rows_differ(AlterTableStmt *stmt);

/* ddl_table_as.c: the definition of the table that CREATE TABLE AS makes, as a command;
 * NULL if it will make none. */
extern char *ddl_table_as(CreateTableAsStmt *stmt, ParamListInfo params);

#endif							/* BATON_DDL_H */
