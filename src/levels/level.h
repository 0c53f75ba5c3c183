/*
 * level.h - selective replication: what of a table its replicas have.
 *
 * src/README.md ("Selective replication") has the design.
 */
#ifndef BATON_LEVEL_H
#define BATON_LEVEL_H

#include "baton.h"

#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* The provider of the security labels that hold the levels. */
#define LEVEL_PROVIDER "baton"

/* In the order of how much travels, so that levels can be compared. */
typedef enum ReplicationLevel
{
	LEVEL_NONE,					/* replicas don't have the table */
	LEVEL_SCHEMA,				/* they have it without rows */
	LEVEL_ALL					/* they have it as it is */
} ReplicationLevel;

/* baton.default_replication */
extern int	baton_default_replication;

/* ---- level.c: where levels are kept ---- */

/* Called by _PG_init. */
extern void levels_define_settings(void);
extern void levels_install_hooks(void);

extern const char *level_name(ReplicationLevel level);
/* Raises ERRCODE_INVALID_PARAMETER_VALUE. */
extern ReplicationLevel level_parse(const char *text);

/* The level of a table or view, as its label says; LEVEL_ALL for one without. */
extern ReplicationLevel level_of(Oid relid);
/* The lowest level in a table and its partitions: whether all rows are on the replicas. */
extern ReplicationLevel level_of_rows(Oid relid);
/* Is it a relation that replicas don't have: at level none, or an index or a sequence of
 * a table that is? */
extern bool level_leaves_out(Oid relid);
/* Has any table of this database a level other than all? */
extern bool levels_in_use(void);
/* Write the label; the next command sees it. */
extern void level_store(Oid relid, ReplicationLevel level);
/* The command that gives a table this level on another node; palloc'd. */
extern char *level_label_text(Relation rel, ReplicationLevel level);

/* ---- level_depends.c: what hangs on what ---- */

/* The table or view that an object is part of (a constraint, a rule, a row type ...) or
 * is; InvalidOid for an object that is part of none. */
extern Oid	level_table_of(Oid class_id, Oid object_id);
/*
 * The tables are to be left out.  Returns the views over them, and over those, that are
 * not left out yet (oids, what is used first).  Raises
 * ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST for anything else that needs one of them on the
 * replicas; foreign keys don't count.
 */
extern List *level_dependent_views(List *tables);
/* Views at level none that use one of the tables, and nothing else that is left out once
 * the tables are not (oids, what is used first). */
extern List *level_returning_views(List *tables);
/* Foreign keys of or to the tables that replicas have (oids of pg_constraint). */
extern List *level_carried_keys(List *tables);
/* Do replicas have this foreign key, at the tables' levels as they are? */
extern bool level_key_is_carried(Oid constraint);

/* ---- level_command.c: how commands and levels meet ---- */

extern void level_command_install_hooks(void);

typedef struct LevelScope
{
	bool		watching;		/* a command is running */
	ReplicationLevel created;	/* of tables that the outer command makes */
	List	   *seen;			/* what it has made or changed */
} LevelScope;

/*
 * Around a command of a session on the primary.  level_enter() says at which level the
 * tables that it makes will be; level_leave() raises
 * ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST if it has made something replicated depend on
 * what is left out; level_forget() is for a command that has failed.
 */
extern void level_enter(Node *parsetree, LevelScope *outer);
extern void level_leave(const LevelScope *outer);
extern void level_forget(const LevelScope *outer);

/* The level of the table, partition or view that a command will make; LEVEL_ALL if it
 * makes none. */
extern ReplicationLevel level_of_new(Node *parsetree);
/* Does a query, raw or analyzed, read a relation that is left out?  Its name, or NULL. */
extern char *level_query_reads(Node *query);

/* ---- level_left_out.c ---- */

/*
 * What a command that travels mentions and replicas don't have, as a list of names for
 * LOCK TABLE, or NULL; a foreign key that they cannot have is told as a WARNING.  Raises
 * ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST for a sequence that would come to belong to it,
 * and ERRCODE_FEATURE_NOT_SUPPORTED for LIKE.
 */
extern char *level_left_out(Node *parsetree);

/* ---- level_change.c ---- */

/* Is it SECURITY LABEL FOR baton? */
extern bool level_is_label(Node *parsetree);
/* Carry one out on the primary: the same as level_change(). */
extern void level_label(NodeShared *node, SecLabelStmt *stmt);
/*
 * Change the level of a table and its partitions, in the session's transaction; done
 * on all nodes when that commits.  Raises ERRCODE_WRONG_OBJECT_TYPE for what has no
 * level, ERRCODE_INSUFFICIENT_PRIVILEGE if the user does not own the table,
 * ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST as level_dependent_views() does,
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE for a child of a table that is left out,
 * and ERRCODE_ACTIVE_SQL_TRANSACTION where a table that was left out is to be
 * replicated inside a transaction block.
 */
extern void level_change(NodeShared *node, Oid relid, ReplicationLevel level);

/* ---- level_rows.c ---- */

/* The message that rows are in WAL: its mark; u32 subxid; u32 relid; then for each row
 * its length (u32) and its tuple, without values outside of it. */
#define ROWS_MESSAGE_PREFIX "baton.rows"

/* Bring all committed rows of the table, whose writers are locked out, into the stream. */
extern void level_send_rows(NodeShared *node, Oid relid);
/* The same with the state of a sequence; nobody uses it until the transaction ends. */
extern void level_send_sequence(NodeShared *node, Oid relid);
/* The same with a materialized view, if it is filled, whatever replicas have of it. */
extern void level_send_view(NodeShared *node, Oid relid);

#endif							/* BATON_LEVEL_H */
