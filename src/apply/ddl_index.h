/*
 * ddl_index.h - indexes of the stream that are there before they are valid.
 */
#ifndef BATON_DDL_INDEX_H
#define BATON_DDL_INDEX_H

#include "nodes/parsenodes.h"

/* Make the index, invalid and without contents. */
extern void ddl_index_declare(IndexStmt *stmt, const char *text);
/* It takes no entries and serves no query. */
extern void ddl_index_mark_invalid(Oid index, Oid table);
/* The index is valid on the source: have it built, and return true, or build it. */
extern bool ddl_index_build_later(IndexStmt *stmt, const char *text);
/* DROP INDEX CONCURRENTLY: take it out of use, and have it dropped; false: it is to be
 * dropped as any other. */
extern bool ddl_index_drop_later(DropStmt *stmt);

#endif							/* BATON_DDL_INDEX_H */
