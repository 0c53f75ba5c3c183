/*
 * api.h - what the SQL functions share.
 */
#ifndef BATON_API_H
#define BATON_API_H

#include "baton.h"

#include "fmgr.h"

/* Called for each finished step of a command, with no lock held. */
typedef void (*CommandStepFn) (const CommandStep *step, int number);

/*
 * Hand a command to the coordinator and wait for its end, interruptibly.
 * request: kind and arguments.  On return it holds the finished command,
 * success or not; result_or_error raises what the coordinator answered.
 *
 * Raises ERRCODE_OBJECT_IN_USE if another command is under way, and
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the coordinator does not run.
 */
extern void command_run(NodeShared *node, CommandShared *request, CommandStepFn on_step);
extern void command_raise(const CommandShared *finished);

/*
 * Raises ERRCODE_ACTIVE_SQL_TRANSACTION inside a transaction block or if the
 * transaction has an xid: what baton does cannot be rolled back.
 */
extern void api_require_no_transaction(const char *function);

/* Text argument as a C string, or NULL if it is null. */
extern char *api_text(FunctionCallInfo fcinfo, int arg);
/* Interval argument in milliseconds; raises ERRCODE_INVALID_PARAMETER_VALUE if it is null, negative or too long. */
extern int64 api_interval_ms(FunctionCallInfo fcinfo, int arg, const char *name);

/*
 * Checks before a database becomes a node: settings of the server, name and
 * conninfo of the node.  conninfo must lead to this very database.
 */
extern void preflight_server(void);
extern void preflight_name(const char *what, const char *name);
extern void preflight_priority(int32 priority);
extern void preflight_conninfo(const char *conninfo);

/* guard.c */
extern void guard_install_hooks(void);

/* Name of a member type, and back; raises ERRCODE_INVALID_PARAMETER_VALUE. */
extern const char *api_type_name(uint8 type);
extern uint8 api_type_parse(const char *name);

/* A conninfo without passwords, for views and hints; palloc'd. */
extern char *api_conninfo_public(const char *conninfo);

#endif							/* BATON_API_H */
