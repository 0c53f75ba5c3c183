/*
 * lag.h - since when a replica lacks something: a history of which stream
 * position was flushed when.
 */
#ifndef BATON_LAG_H
#define BATON_LAG_H

#include "datatype/timestamp.h"
#include "stream/stream.h"

#define LAG_SAMPLES 1024

/* Zeroed: empty.  Positions and times rise. */
typedef struct LagHistory
{
	int			n;
	struct
	{
		StreamPos	end;		/* what lies before it (and behind the sample before) ... */
		TimestampTz at;			/* ... was flushed then */
	}			sample[LAG_SAMPLES];
} LagHistory;

/* The log is flushed up to `end`.  A lower position than before begins anew. */
extern void lag_note(LagHistory *lag, StreamPos end, TimestampTz now);

/* When the first byte behind `pos` was flushed; 0 if nothing lies behind it. */
extern TimestampTz lag_since(const LagHistory *lag, StreamPos pos);

#endif							/* BATON_LAG_H */
