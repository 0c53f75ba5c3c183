/*
 * apply.h - what the files of apply/ share: the local transaction in which
 * records are carried out, and the tables it has open.
 *
 *   applier.c        the worker: reads frames, decides what is applied when
 *   position.c       where in the log the applier begins
 *   publish.c        what the rest of the node sees: progress and errors
 *   transaction.c    transactions of the stream that have not ended yet
 *   collected.c      those that span frames: noting their frames, reading them again
 *   local.c          the local transaction: begin, dispatch, commit, abort
 *   relation_map.c   tables of the source, and what they are here
 *   open_relation.c  tables held open for the local transaction
 *   row.c, value.c   INSERT, UPDATE, DELETE; values to Datums
 *   find.c           finding the row to change
 *   truncate.c       TRUNCATE
 *   touched.c        rows that are left out while a node is mended; and
 *   touched_store.c  where these are kept
 *   sequence.c       states of sequences
 *   ddl.c            commands that change definitions
 *   index_work.c     indexes that are built beside apply; and
 *   index_concurrent.c, index_builder.c  how, and by whom
 *   large_object.c   large objects
 *   role.c           roles, and what else all databases of a server share
 *   role_row.c       ... the rows of two catalogs that are written as they are
 *   message.c        messages
 */
#ifndef BATON_APPLY_H
#define BATON_APPLY_H

#include "baton.h"

#include "access/attnum.h"
#include "access/genam.h"
#include "access/tableam.h"
#include "apply/transaction.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/snapshot.h"

/* ---- relation_map.c ---- */

/* How one column of a local table is filled; index = local attribute - 1. */
typedef struct ApplyColumn
{
	int			source;			/* column of the RELATION record, -1: none */
	bool		compared;		/* takes part when old rows are compared */
	bool		byval;
	int16		len;			/* pg_type.typlen */
	Oid			type;
	Oid			collation;
	FmgrInfo	input;			/* 't' values */
	Oid			ioparam;
	int32		typmod;
	bool		coerces;		/* type modifiers differ: 'b' values go through coerce */
	FmgrInfo	coerce;
	FmgrInfo	equal;			/* fn_oid InvalidOid: the type has no equality */
} ApplyColumn;

/* How rows are found: through an index, or (index InvalidOid) by reading all. */
typedef struct FindPlan
{
	Oid			index;
	bool		unique;			/* the key alone says which row it is */
	bool		no_nulls;		/* the index cannot look for NULL */
	int			n_keys;
	AttrNumber	attribute[INDEX_MAX_KEYS];	/* local attribute of index column i + 1 */
	Oid			collation[INDEX_MAX_KEYS];
	FmgrInfo	equal[INDEX_MAX_KEYS];
} FindPlan;

struct OpenRelation;

/* A table of the source, and its like here. */
typedef struct ApplyRelation
{
	uint32		relid;			/* on the source: the key of the map */
	MemoryContext source_cxt;
	char	   *definition;		/* RELATION record behind xid and subxid */
	size_t		definition_len;
	RecordRelation source;
	int			n_key_columns;
	uint64		described_in;	/* source transaction whose RELATION record came last */

	/* local side; built again when it is opened and not `valid` */
	bool		valid;
	MemoryContext local_cxt;
	Oid			localoid;
	Oid			owner;
	char		relkind;
	int			natts;
	ApplyColumn *columns;
	FindPlan	find;
	struct OpenRelation *open;	/* in the current local transaction, or NULL */
} ApplyRelation;

typedef struct RelationMap
{
	MemoryContext cxt;
	HTAB	   *relations;		/* of ApplyRelation, by relid */
	ApplyRelation *last;		/* looked up last */
	RecordColumn *columns;		/* scratch, RECORD_MAX_ATTS */
} RelationMap;

extern RelationMap *relation_map_create(MemoryContext parent);
/* A RELATION record of source transaction txn: returns the entry, or NULL if the
 * definition has changed and the table is still open (close it, then call again). */
extern ApplyRelation *relation_map_describe(RelationMap *map, const Record *r, uint64 txn);
/* The table with this relid; raises ERRCODE_DATA_CORRUPTED if txn has not described it. */
extern ApplyRelation *relation_map_get(RelationMap *map, uint32 relid, uint64 txn);
/* Open the local table under lockmode, with the local side of m up to date. */
extern Relation relation_map_open(ApplyRelation *m, LOCKMODE lockmode);

/* ---- open_relation.c ---- */

/* Inserts are collected until there are so many for one table, or so many bytes in all. */
#define APPLY_BUFFER_ROWS	500
#define APPLY_BUFFER_BYTES	(512 * 1024)

/* A table held open for the local transaction, with all that its rows need. */
typedef struct OpenRelation
{
	ApplyRelation *map;
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *rri;
	bool		triggers;		/* row triggers that fire here */
	bool		user_code;		/* a row may run expressions or functions of users */
	TupleTableSlot *found;		/* the row to change */
	TupleTableSlot *fresh;		/* the row as it will be */
	EPQState	epq;			/* valid with triggers */

	/* the row looked for, by local attribute */
	Datum	   *key_values;
	bool	   *key_nulls;
	bool	   *key_given;

	/* defaults of columns that the source does not have */
	int			n_defaults;
	int		   *default_columns;
	ExprState **default_exprs;

	/* lookups; scans stay open from row to row */
	SnapshotData dirty;
	Relation	index;
	bool		by_index;		/* which of the scans is under way */
	IndexScanDesc index_scan;
	TableScanDesc table_scan;

	/* inserts that are collected to be written together */
	TupleTableSlot **buffered;
	int			n_slots;
	int			n_buffered;

	struct OpenRelation *next;
} OpenRelation;

/* ---- local.c ---- */

#define APPLY_ROLE_NOTES	32

/* The tables are not what the stream expects, see lenient.c. */
typedef struct Lenience
{
	char		node_name[BATON_NAME_LEN];
} Lenience;

typedef struct LocalTransaction
{
	bool		started;
	MemoryContext cxt;			/* lives as long as the transaction */
	MemoryContext row_cxt;		/* reset with each record */
	RelationMap *relations;
	OpenRelation *opened;
	int			n_buffered;		/* inserts that are collected and not written yet ... */
	size_t		buffered_bytes; /* ... and their size, over all tables */
	bool		written;		/* commands since the command counter moved */
	bool		constraints_immediate;
	uint64		source_txn;		/* counts transactions of the stream, those tried again too */
	uint64		rows;
	bool		index_work;		/* it has noted some, see index_work.h */

	/* whose rights are in force, see local_become_owner() */
	Oid			owner;			/* InvalidOid: the worker's own */
	Oid			saved_user;
	int			saved_context;
	int			guc_level;

	/* what is being done, for an error's report */
	Record		record;			/* type 0: nothing of one row */
	ApplyRelation *relation;	/* NULL: nothing of one table */

	struct TouchedSet *touched; /* rows whose changes are left out, NULL none (touched.h) */
	bool		tolerant;		/* a row to delete that is not there is passed over */
	Lenience   *lenient;		/* NULL: the tables are what the stream expects */

	/* hashes of what was said last of roles */
	uint32		role_notes[APPLY_ROLE_NOTES];
	uint32		n_role_notes;

	RecordValue *old_values;	/* scratch, RECORD_MAX_ATTS each */
	RecordValue *new_values;
} LocalTransaction;

extern void local_init(LocalTransaction *t, MemoryContext parent);
extern void local_begin(LocalTransaction *t);
/* The records that follow belong to another transaction of the stream. */
extern void local_next_source(LocalTransaction *t);
/* Carry out one record of a transaction (not BEGIN, COMMIT, ABORT). */
extern void local_apply(LocalTransaction *t, const Record *r);
/* Commit as the transaction at stream position pos, committed at commit_time there. */
extern void local_commit(LocalTransaction *t, StreamPos pos, TimestampTz commit_time);
extern void local_abort(LocalTransaction *t);

/* Make what the transaction has written so far visible to its next command. */
extern void local_make_visible(LocalTransaction *t);
/* Run what follows with the rights of `owner`. */
extern void local_become_owner(LocalTransaction *t, Oid owner);
extern void local_become_self(LocalTransaction *t);

/* ---- open_relation.c ---- */

/* The table, open for changes of rows, under its owner's rights. */
extern OpenRelation *open_relation(LocalTransaction *t, ApplyRelation *m);
extern void open_relation_close_all(LocalTransaction *t);

/* ---- row.c ---- */

extern void apply_insert(LocalTransaction *t, const Record *r);
extern void apply_update(LocalTransaction *t, const Record *r);
extern void apply_delete(LocalTransaction *t, const Record *r);
/* Write the collected inserts of one table, or of all (o NULL). */
extern void apply_flush_inserts(LocalTransaction *t, OpenRelation *o);
/* The values of an INSERT, UPDATE or DELETE, one per column of the source.  Returns
 * what the old ones are: 'K', 'O', or 'N' for none. */
extern char apply_read_values(const ApplyRelation *m, const Record *r,
							  RecordValue *old_values, RecordValue *new_values);
/* Key of the row that record r is about, such as "(id)=(5)", or NULL; palloc'd.
 * Needs a transaction. */
extern char *apply_row_key(const ApplyRelation *m, const Record *r);

/* ---- lenient.c ---- */

/* An INSERT, UPDATE or DELETE where t->lenient.  Raises what an ordinary one raises, but
 * neither ERRCODE_NO_DATA_FOUND nor the violation of a constraint that is not deferrable. */
extern void apply_lenient(LocalTransaction *t, const Record *r);
/* How many rows were taken out, or could not be put in, in the latest mending. */
extern uint32 apply_lenient_noted(void);

/* ---- value.c ---- */

/* A value that travelled as 'b' or 't', as a Datum for the column; in the current
 * memory context. */
extern Datum apply_value(ApplyColumn *column, const RecordValue *value, const char *name);

/* ---- find.c ---- */

/* Choose how rows of rel are found, where key[attribute - 1] says what old rows give. */
extern void find_make_plan(FindPlan *plan, Relation rel, const bool *given, MemoryContext cxt);
/* Find the row that o->key_* describes and put it into o->found. */
extern bool find_row(OpenRelation *o);
extern void find_close(OpenRelation *o);

/* ---- sequence.c ---- */

extern void apply_sequence(LocalTransaction *t, const Record *r);
/* This node takes over: nobody knows which of the reserved values were handed out. */
extern void apply_skip_reserved(void);

/* ---- ddl.c ---- */

extern void apply_ddl(LocalTransaction *t, const Record *r);

/* ---- large_object.c ---- */

extern void apply_large_object(LocalTransaction *t, const Record *r);

/* ---- role.c ---- */

extern void apply_role(LocalTransaction *t, const Record *r);
/* Say, in the log and in baton.events, what of a role could not be carried out. */
extern void apply_role_note(LocalTransaction *t, const char *fmt,...) pg_attribute_printf(2, 3);

/* ---- role_row.c ---- */

/* Make role `role` what the record says, or make it (InvalidOid). */
extern void apply_role_attributes(Oid role, RecordRole *r);
/* The settings of a role (InvalidOid: of all) in a database (InvalidOid: in all). */
extern void apply_role_settings(Oid role, Oid database, RecordRole *r);
/* Owner (InvalidOid: as it is), connection limit and access list of this database. */
extern void apply_role_database(LocalTransaction *t, Oid owner, RecordRole *r);

/* ---- ddl_left_out.c ---- */

/*
 * Take out of a command what replicas don't have, as its record says, and what is this
 * node's own; false: nothing is left of it.  Needs its settings in force.
 */
extern bool apply_leave_out(Node *command, const RecordDdl *ddl);

/* ---- ddl_room.c ---- */

/* Move a relation of this node's own away whose name the command is about to take. */
extern void apply_make_room(Node *command);

/* ---- message.c ---- */

/* A message of a transaction: into the local one. */
extern void apply_message(LocalTransaction *t, const Record *r);

/* ---- truncate.c ---- */

extern void apply_truncate(LocalTransaction *t, const Record *r);
/* Empty one table, whatever refers to it; what is no plain table holds nothing. */
extern void apply_empty_relation(LocalTransaction *t, Oid relid);
extern void apply_empty_table(LocalTransaction *t, ApplyRelation *m);

#endif							/* BATON_APPLY_H */
