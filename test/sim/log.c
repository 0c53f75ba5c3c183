/*
 * log.c - the log of a simulated server, and the members that it carries: the
 * latest MEMBERSHIP frame is in force, committed or not; the one before it counts
 * beside it until the frame is known to be committed.
 */
#include "world.h"

#include <string.h>

uint64_t
log_hash(const Disk *disk, int len)
{
	return len == 0 ? 0 : disk->log[len - 1].hash;
}

/* The end of what is flushed. */
ConsensusPlace
log_place(const Disk *disk)
{
	ConsensusPlace place = {0, (uint64_t) disk->flushed};

	if (disk->flushed > 0)
		place.term = disk->log[disk->flushed - 1].term;
	return place;
}

bool
log_has(const Disk *disk, int len, uint64_t hash)
{
	return disk->flushed >= len && log_hash(disk, len) == hash;
}

/* How many frames two logs share. */
int
log_common(const Disk *a, const Disk *b)
{
	int			len = a->len < b->len ? a->len : b->len;

	while (len > 0 && log_hash(a, len) != log_hash(b, len))
		len--;
	return len;
}

static uint64_t
frame_hash(uint64_t before, const Frame *f)
{
	uint64_t	z = (before ^ f->id * 0x9E3779B97F4A7C15ULL) + f->term;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
	return (z ^ (z >> 27)) | 1;
}

/* Appends a frame, not flushed. */
void
log_put(World *w, int i, const Frame *f)
{
	Disk	   *disk = &w->node[i].disk;
	Frame	   *new = &disk->log[disk->len];
	uint16_t	latest = disk->len == 0 ? 0 : disk->log[disk->len - 1].members_len;

	*new = *f;
	new->hash = frame_hash(log_hash(disk, disk->len), f);
	if (f->kind == FRAME_MEMBERSHIP)
	{
		/* no primary changes members before its last change is committed */
		disk->members_known = latest;
		new->members_len = (uint16_t) (disk->len + 1);
	}
	else
		new->members_len = latest;
	disk->len++;
	check_frame(w, i);
}

void
log_cut(World *w, int i, int len)
{
	Disk	   *disk = &w->node[i].disk;

	check_cut(w, i, len);
	disk->len = len;
	if (disk->flushed > len)
		disk->flushed = len;
	if (disk->applied > len)
		disk->applied = len;
	if (w->node[i].apply_to > len)
		w->node[i].apply_to = len;
	if (disk->members_known > len)
		disk->members_known = members_len(disk);
}

/* ---- members ---- */

/* Length of the log up to its latest flushed MEMBERSHIP frame. */
int
members_len(const Disk *disk)
{
	return disk->flushed == 0 ? 0 : disk->log[disk->flushed - 1].members_len;
}

static const ConsensusMembership *
members_at(const World *w, const Disk *disk, int len)
{
	return &w->membership[len == 0 ? disk->base : disk->log[len - 1].members];
}

const ConsensusMembership *
members_of(const World *w, const Disk *disk)
{
	return members_at(w, disk, members_len(disk));
}

/* What was in force before a change that is not known to be committed, or NULL. */
const ConsensusMembership *
members_before(const World *w, const Disk *disk)
{
	int			len = members_len(disk);

	if (len <= disk->members_known)
		return NULL;
	return members_at(w, disk, len < 2 ? 0 : disk->log[len - 2].members_len);
}

const ConsensusMember *
member_of(const ConsensusMembership *m, int node)
{
	for (int k = 0; k < m->count; k++)
	{
		if (m->member[k].id == node + 1)
			return &m->member[k];
	}
	return NULL;
}

bool
is_voter(const ConsensusMember *m)
{
	return m != NULL && m->type != CONSENSUS_SECONDARY && !m->joining;
}

int
count_voters(const ConsensusMembership *m)
{
	int			voters = 0;

	for (int k = 0; k < m->count; k++)
		voters += is_voter(&m->member[k]);
	return voters;
}

/* Do these nodes elect, and commit? */
bool
is_quorum(const ConsensusMembership *m, const bool *set)
{
	int			votes = 0;

	for (int k = 0; k < m->count; k++)
		votes += is_voter(&m->member[k]) && !m->member[k].detached && set[m->member[k].id - 1];
	if (count_voters(m) == 2 && m->rule == RULE_DESIGNATED && m->designated != 0)
		return set[m->designated - 1] && is_voter(member_of(m, m->designated - 1)) &&
			!member_of(m, m->designated - 1)->detached;
	return votes > count_voters(m) / 2;
}
