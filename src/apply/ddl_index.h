/*
 * ddl_index.h - indexes of the stream that are there before they are valid.
 */
#ifndef BATON_DDL_INDEX_H
#define BATON_DDL_INDEX_H

#include "nodes/parsenodes.h"

/* Make the index, invalid and without contents. */
extern void ddl_index_declare(IndexStmt *stmt, const char *text);
/* What is to be run for an index that is valid on the source: REINDEX if there is one here
 * that is not, NULL if it is valid here too, else stmt itself. */
extern Node *ddl_index_to_build(IndexStmt *stmt);

#endif							/* BATON_DDL_INDEX_H */
