/*
 * plugin.h - what the files of baton's output plugin share.
 *
 * The plugin runs in the walsender that capture talks to.  It turns decoded
 * changes into records (stream/record.h) and collects them; what it writes is
 * the bytes of records back to back.  A record begins where the one before it
 * ended, and a long one may continue in the next message: the reader takes the
 * messages as one stream of bytes.
 */
#ifndef BATON_PLUGIN_H
#define BATON_PLUGIN_H

#include "baton.h"

#include "fmgr.h"
#include "replication/logical.h"
#include "replication/origin.h"
#include "stream/record.h"
#include "utils/hsearch.h"
#include "utils/rel.h"

/* A column that travels: not dropped, not generated. */
typedef struct PluginColumn
{
	int16		attidx;			/* index into a deformed tuple */
	int16		typlen;
	bool		typbyval;
	bool		key;			/* part of the replica identity */
	char		format;			/* 'b' native bytes, 't' text */
	FmgrInfo	out;			/* format 't': the output function */
} PluginColumn;

/* What is known of a table; an entry of the relation cache. */
typedef struct PluginRelation
{
	Oid			relid;			/* hash key */
	bool		valid;			/* false: build again before use */
	bool		skip;			/* not for the stream (baton's own tables, a low level, ...) */
	bool		view;			/* a materialized view */
	bool		full;			/* old tuples hold the whole row */
	bool		told_keyless;	/* the log has been told that its deletes cannot travel */
	TransactionId sent_xid;		/* transaction that has its RELATION record */
	int			ncolumns;
	PluginColumn *columns;
	char	   *encoded;		/* the RELATION record, xid and subxid open */
	size_t		encoded_len;
	int			n_user_types;	/* column types that somebody could rename ... */
	uint32	   *type_hashes;	/* ... as syscache hash values */
	MemoryContext context;		/* holds all of the above */
} PluginRelation;

typedef struct Plugin
{
	MemoryContext context;
	MemoryContext row_context;	/* detoasted values and text, reset after a change */
	bool		row_context_used;

	uint16		node_id;		/* source member of COMMIT records */
	char		origin[NAMEDATALEN];	/* baton's origin in this database, or its prefix */
	uint8	   *origin_verdicts;	/* by RepOriginId, see output_plugin.c */

	bool		streaming;		/* between stream start and stop */
	TransactionId rows_xid;		/* transaction whose last command lets the rows of what it
								 * rewrites or fills follow */
	TransactionId lo_searched[2];	/* transactions whose rows of pg_largeobject, and of its
									 * metadata, were looked for, see plugin_large_object.c */
	StreamBuf	out;			/* records not yet written ... */
	size_t		out_whole;		/* ... the whole ones among them */

	HTAB	   *relations;
	long		sweep_at;		/* size at which entries of dropped tables are looked for */
	PluginRelation *last_relation;	/* valid one used last, or NULL */

	/* a new and an old tuple, taken apart */
	Datum	   *new_values;
	bool	   *new_nulls;
	Datum	   *old_values;
	bool	   *old_nulls;
} Plugin;

/* output_plugin.c: a record is put together between these two */
extern StreamBuf *plugin_begin_records(Plugin *plugin);
extern void plugin_records_done(Plugin *plugin);
/* BEGIN, and RELATION, in front of the first record that needs it */
extern void plugin_ensure_begun(Plugin *plugin, ReorderBufferTXN *txn);
extern void plugin_ensure_relation(Plugin *plugin, ReorderBufferTXN *txn, PluginRelation *rel);
extern void plugin_row_done(Plugin *plugin);
extern void plugin_write_if_much(LogicalDecodingContext *ctx);

/* plugin_rows.c */
extern bool plugin_put_rows(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, const char *prefix,
							Size size, const char *message);

/* plugin_relation.c */
extern void plugin_relation_init(Plugin *plugin);
extern void plugin_relation_shutdown(void);

/*
 * The cache entry of an open table, up to date.  Needs the historic snapshot;
 * raises what catalog look-ups raise.
 */
extern PluginRelation *plugin_relation_get(Plugin *plugin, Relation rel);

/* plugin_sequence.c */
extern void plugin_sequence_init(void);
extern bool plugin_sequence_read(const char *prefix, Size size, const char *message,
								 XLogRecPtr lsn, RecordSequence *sequence, TransactionId *subxid, bool *found);

/* The relation that has this storage in the catalog of transactions committed by now,
 * InvalidOid for none; called while WAL is decoded, for a record of transaction xid. */
extern Oid	plugin_storage_relid(LogicalDecodingContext *ctx, TransactionId xid,
								 Oid tablespace, Oid filenumber);

/* plugin_large_object.c */
extern void plugin_large_object_init(void);
/* Is the message what this file has queued? */
extern bool plugin_large_object_is(const char *prefix, Size size, const char *message);
/* Append the records that such a message of txn amounts to. */
extern void plugin_large_object_put(Plugin *plugin, ReorderBufferTXN *txn, StreamBuf *out,
									const char *message);

/* plugin_tuple.c */

/*
 * Append a tuple to the record being built.
 *
 *   old_values, old_nulls   if not NULL, where a TOAST value that the change left
 *                           alone can be found (replica identity)
 *   keys_only               columns outside of the replica identity are null
 */
extern void plugin_put_tuple(Plugin *plugin, const PluginRelation *rel,
							 const Datum *values, const bool *nulls,
							 const Datum *old_values, const bool *old_nulls,
							 bool keys_only);

#endif							/* BATON_PLUGIN_H */
