/*
 * fresh.h - how fresh a replica's data is: which end of the primary's log it has
 * heard of when.
 */
#ifndef BATON_FRESH_H
#define BATON_FRESH_H

#include "stream/stream.h"

#define FRESH_SAMPLES 64

/* Zeroed: nothing heard.  Times are boot_ms(). */
typedef struct FreshHistory
{
	uint64		term;			/* of the primary that the rest comes from */
	uint64		heard_at;		/* its last sign of life, 0 none */
	int			n;
	struct
	{
		StreamPos	end;		/* what lies before it (and behind the sample before) ... */
		uint64		at;			/* ... was not there yet at that time; 0: not known */
	}			sample[FRESH_SAMPLES];
} FreshHistory;

/* The primary of `term` has said that its log ends at `end`. */
extern void fresh_note(FreshHistory *h, uint64 term, StreamPos end, StreamPos applied, uint64 now);

/*
 * The latest time of which it is known that all that the primary had committed then
 * lies before `applied`; 0 if none is known.
 */
extern uint64 fresh_as_of(const FreshHistory *h, StreamPos applied);

#endif							/* BATON_FRESH_H */
