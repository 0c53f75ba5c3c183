/*
 * terms.c - see terms.h.
 */
#include "stream/terms.h"

#include <string.h>

static void
add(StreamTerms *t, uint64 term, StreamPos start)
{
	if (t->n == STREAM_TERMS_MAX)
	{
		memmove(&t->part[0], &t->part[1], sizeof(t->part[0]) * (STREAM_TERMS_MAX - 1));
		t->n--;
	}
	t->part[t->n].term = term;
	t->part[t->n].start = start;
	t->n++;
}

void
stream_terms_note(StreamTerms *t, const FrameHeader *h)
{
	if (t->n > 0)
	{
		if (h->start < t->part[t->n - 1].start || h->term == t->part[t->n - 1].term)
			return;
		/* not what was before this frame: of another log */
		if (h->prev_term != t->part[t->n - 1].term)
			t->n = 0;
	}
	add(t, h->term, h->start);
}

void
stream_terms_cut(StreamTerms *t, StreamPos pos)
{
	while (t->n > 0 && t->part[t->n - 1].start >= pos)
		t->n--;
}

void
stream_terms_end(StreamTerms *t, StreamPos pos, StreamPos last_start, uint64 last_term)
{
	stream_terms_cut(t, pos);
	if (t->n > 0 && (t->part[t->n - 1].term != last_term || t->part[t->n - 1].start > last_start))
		t->n = 0;
	if (t->n == 0 && last_term != 0)
		add(t, last_term, last_start);
}

uint64
stream_terms_at(const StreamTerms *t, StreamPos pos)
{
	for (int i = t->n - 1; i >= 0; i--)
		if (t->part[i].start < pos)
			return t->part[i].term;
	return 0;
}
