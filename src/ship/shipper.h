/*
 * shipper.h - the worker that ships the stream to the other members.
 */
#ifndef BATON_SHIPPER_H
#define BATON_SHIPPER_H

#include "postgres.h"

/* Background worker entry point; main_arg is the oid of the node's database. */
extern PGDLLEXPORT void baton_shipper_main(Datum main_arg);

#endif							/* BATON_SHIPPER_H */
