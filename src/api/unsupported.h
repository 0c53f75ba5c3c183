/*
 * unsupported.h - names what will not be carried to replicas.
 */
#ifndef BATON_UNSUPPORTED_H
#define BATON_UNSUPPORTED_H

#include "baton.h"

/* A WARNING for each kind of object in baton.unsupported, with names.  Needs a
 * transaction; raises errors of the query. */
extern void unsupported_warn(void);

#endif							/* BATON_UNSUPPORTED_H */
