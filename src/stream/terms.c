/*
 * terms.c - see terms.h.
 */
#include "stream/terms.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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

void
stream_terms_print(const StreamTerms *t, char out[STREAM_TERMS_TEXT_LEN])
{
	int			len = 0;

	out[0] = '\0';
	for (int i = 0; i < t->n; i++)
		len += snprintf(out + len, STREAM_TERMS_TEXT_LEN - len, "%s%" PRIu64 ":%" PRIu64,
						i > 0 ? " " : "", (uint64_t) t->part[i].term, (uint64_t) t->part[i].start);
}

static bool
read_number(const char **text, uint64 *value)
{
	char	   *end;

	if (**text < '0' || **text > '9')
		return false;
	*value = strtoull(*text, &end, 10);
	*text = end;
	return true;
}

/* "term:start", behind what is known already. */
static bool
read_part(const char **text, StreamTerms *t)
{
	uint64		term;
	uint64		start;

	if (!read_number(text, &term) || *(*text)++ != ':' || !read_number(text, &start) ||
		t->n == STREAM_TERMS_MAX ||
		(t->n > 0 && (term <= t->part[t->n - 1].term || start <= t->part[t->n - 1].start)))
		return false;
	add(t, term, start);
	return true;
}

bool
stream_terms_parse(const char *text, StreamTerms *t)
{
	bool		good;

	t->n = 0;
	if (*text == '\0')
		return true;
	while ((good = read_part(&text, t)) && *text == ' ')
		text++;
	if (good && *text == '\0')
		return true;
	t->n = 0;
	return false;
}
