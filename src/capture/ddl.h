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
	DDL_NOT = 0,				/* it changes no definitions */
	DDL_STAYS,					/* only such that stay here */
	DDL_BEFORE,					/* it is written before it runs */
	DDL_REFRESH,				/* the view that it refreshes is written when it has run */
	DDL_AFTER					/* it commits by itself: written when it has succeeded */
} DdlWhen;

typedef struct DdlCommand
{
	DdlWhen		when;
	uint8		flags;			/* RECORD_DDL_* */
	const char *text;			/* what the replica is to run; palloc'd */
	const char *left_out;		/* what of it replicas don't have, see level_left_out(); or NULL */
} DdlCommand;

extern void ddl_install_hooks(void);
/* Write one command to WAL, as if the session had run it; flags: RECORD_DDL_*. */
extern void ddl_log(NodeShared *node, const char *text, uint8 flags);

/*
 * The same with
 *   left_out   what of it replicas don't have, as level_left_out() tells; or NULL
 *   role       who runs it; "" the applier itself, a superuser
 */
extern void ddl_log_as(NodeShared *node, const char *text, uint8 flags, const char *left_out,
					   const char *role);
/* Its pseudo setting in the record. */
#define DDL_LEFT_OUT	"baton.left_out"

/* replica_identity.c */
extern void replica_identity_install_hooks(void);
/* This table may lack a key: look at it when the command is over. */
extern void replica_identity_touch(Oid relid);
/* A command is over: tables that it leaves without a key get REPLICA IDENTITY FULL. */
extern void replica_identity_check(NodeShared *node);
/* ALTER TABLE has run, on a primary or as the stream says: does it set a replica identity? */
extern void replica_identity_command(AlterTableStmt *stmt);

/* ddl_classify.c: what an object is, of commands about any kind of object, OBJECT_TABLE for
 * others; *object: which one, as the grammar gives it, or NULL. */
extern ObjectType ddl_object_type(Node *parsetree, Node **object);
/* Fills in *command, DDL_NOT for what does not travel. */
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

/* ddl_index.c: around commands that make indexes valid, and CLUSTER.  ddl_index_made: what
 * a successful CREATE INDEX CONCURRENTLY has made, as a command with its name, NULL if that
 * is gone again; text if it was another command, or has made nothing. */
typedef struct DdlIndex
{
	bool		concurrent;
	List	   *invalid;		/* RangeVars of indexes that REINDEX may make valid */
	RangeVar   *clustered;		/* the table that CLUSTER ... USING puts in order; or NULL */
} DdlIndex;

extern void ddl_index_before(NodeShared *node, Node *parsetree, DdlIndex *index);
extern const char *ddl_index_made(const DdlIndex *index, const char *text);
extern void ddl_index_after(NodeShared *node, const DdlIndex *index);
extern void ddl_index_install_hooks(void);

/* ddl_stays.c: is the command only about objects that stay here: temporary ones, and
 * tables that are not replicated? */
extern bool ddl_stays(Node *parsetree);
/* The same for commands about what is there already; false for those that make something. */
extern bool ddl_changes_what_stays(Node *parsetree);

/* A DROP of relations without those that stay; kind: "TABLE" ...  NULL if none stays. */
extern char *ddl_drop_lasting(DropStmt *stmt, const char *kind);

/* ddl_depends.c: does the object go when something temporary goes, and does the command
 * make one that will? */
extern bool ddl_depends_on_temporary(const ObjectAddress *address);
extern bool ddl_is_made_of_temporary(Node *parsetree);

/* ddl_like.c: the command's text, with the columns of temporary tables where it has LIKE and
 * their names; stmt_location: where it began in the string that was parsed, or -1.  WARNING
 * for an index that LIKE copies on this node alone. */
extern char *ddl_like_expanded(CreateStmt *stmt, char *text, int stmt_location);

/* ddl_unsupported.c: what the command makes that replicas will not have, as a sentence,
 * palloc'd; NULL for nothing */
extern char *ddl_unsupported(Node *parsetree);

/* ddl_volatile.c: would the rows that the command makes differ from node to node? */
extern bool ddl_rows_differ(AlterTableStmt *stmt);

/* ddl_table_as.c: the definition of the table that CREATE TABLE AS makes, as a command;
 * NULL if it will make none. */
extern char *ddl_table_as(CreateTableAsStmt *stmt, ParamListInfo params);

#endif							/* BATON_DDL_H */
