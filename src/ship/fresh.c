/*
 * fresh.c - how fresh a replica's data is.
 *
 * With each sign of life the primary says where its log ends.  What was not there
 * at the sign of life before came after that one: so whoever has applied all that
 * lies before it has all that the primary had at that time.  A replica that has
 * applied all that it has heard of is as fresh as the last sign of life.  Times are
 * those of arrival, on the replica's own clock.
 *
 * The table is bounded: when it is full two neighbours become one, which only makes
 * the answer older than it might be.
 */
#include "baton.h"

#include "ship/fresh.h"

static void
thin_out(FreshHistory *h)
{
	int			kept = 0;

	for (int i = 0; i + 1 < h->n; i += 2)
	{
		h->sample[kept].end = h->sample[i + 1].end;
		h->sample[kept].at = h->sample[i].at;
		kept++;
	}
	h->n = kept;
}

void
fresh_note(FreshHistory *h, uint64 term, StreamPos end, StreamPos applied, uint64 now)
{
	int			done = 0;

	if (term != h->term)
	{
		memset(h, 0, sizeof(*h));
		h->term = term;
	}
	while (done < h->n && h->sample[done].end <= applied && done + 1 < h->n)
		done++;
	if (done > 0)
	{
		h->n -= done;
		memmove(&h->sample[0], &h->sample[done], sizeof(h->sample[0]) * h->n);
	}
	if (h->n == 0 || end > h->sample[h->n - 1].end)
	{
		if (h->n == FRESH_SAMPLES)
			thin_out(h);
		h->sample[h->n].end = end;
		h->sample[h->n].at = h->heard_at;
		h->n++;
	}
	h->heard_at = now;
}

uint64
fresh_as_of(const FreshHistory *h, StreamPos applied)
{
	for (int i = 0; i < h->n; i++)
		if (h->sample[i].end > applied)
			return h->sample[i].at;
	return h->heard_at;
}
