/*
 * baton.h - what every server-side file of baton includes first.
 */
#ifndef BATON_H
#define BATON_H

#include "postgres.h"

#include "pg_compat.h"
#include "settings.h"
#include "shared_state.h"

#define BATON_PROTOCOL_VERSION	1

/* in baton.c: true if loaded through shared_preload_libraries; else the SQL
 * functions raise ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE with a hint. */
extern bool baton_preloaded;
extern void baton_require_preloaded(void);

#endif							/* BATON_H */
