/*
 * lag.c - since when a replica lacks something.
 *
 * The shipper notes each step of its log's flushed position with the time.  What
 * a replica has reached then says how long the oldest thing that it lacks has
 * been waiting, without looking into any frame.  The table is bounded: steps
 * within 10 ms are one, and when it is full every second sample goes.
 */
#include "baton.h"

#include "ship/lag.h"

#define LAG_STEP_US 10000

/* Drop every second sample; the later of two covers the earlier one's bytes,
 * from the earlier one's time on. */
static void
lag_thin_out(LagHistory *lag)
{
	int			kept = 0;

	for (int i = 0; i + 1 < lag->n; i += 2)
	{
		lag->sample[kept].end = lag->sample[i + 1].end;
		lag->sample[kept].at = lag->sample[i].at;
		kept++;
	}
	lag->n = kept;
}

void
lag_note(LagHistory *lag, StreamPos end, TimestampTz now)
{
	if (lag->n > 0)
	{
		StreamPos	last = lag->sample[lag->n - 1].end;

		if (end == last)
			return;
		if (end < last)
			lag->n = 0;			/* the log was cut */
		else if (lag->n > 1 && now - lag->sample[lag->n - 1].at < LAG_STEP_US)
		{
			lag->sample[lag->n - 1].end = end;
			return;
		}
	}
	if (lag->n == LAG_SAMPLES)
		lag_thin_out(lag);
	lag->sample[lag->n].end = end;
	lag->sample[lag->n].at = now;
	lag->n++;
}

TimestampTz
lag_since(const LagHistory *lag, StreamPos pos)
{
	int			low = 0;
	int			high = lag->n;

	/* the first sample that ends behind pos */
	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (lag->sample[mid].end > pos)
			high = mid;
		else
			low = mid + 1;
	}
	return low < lag->n ? lag->sample[low].at : 0;
}
