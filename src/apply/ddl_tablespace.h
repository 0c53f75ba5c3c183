/*
 * ddl_tablespace.h - where commands of the stream place what they make.
 */
#ifndef BATON_DDL_TABLESPACE_H
#define BATON_DDL_TABLESPACE_H

#include "nodes/nodes.h"

/* Takes tablespaces that this server lacks out of the command; false: it is about such a
 * tablespace only, and nothing is left to do. */
extern bool ddl_adapt_tablespaces(Node *command);
/* The value that a setting of the source has here: "" for default_tablespace if nothing is
 * to lie in one of that name here; otherwise value itself. */
extern const char *ddl_tablespace_setting(const char *name, const char *value);

#endif							/* BATON_DDL_TABLESPACE_H */
