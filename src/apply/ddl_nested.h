/*
 * ddl_nested.h - what functions do that a command of the stream calls.
 */
#ifndef BATON_DDL_NESTED_H
#define BATON_DDL_NESTED_H

#include "nodes/nodes.h"

/* Around a command's execution; end also after an error. */
extern void ddl_nested_begin(Node *command);
extern void ddl_nested_end(void);
/* Called by _PG_init. */
extern void ddl_nested_install_hooks(void);

#endif							/* BATON_DDL_NESTED_H */
