/*
 * identity.h - a replica identity for tables without a key.
 */
#ifndef BATON_IDENTITY_H
#define BATON_IDENTITY_H

#include "baton.h"

extern void identity_ensure_all(void);

#endif							/* BATON_IDENTITY_H */
