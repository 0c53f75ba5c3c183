/*
 * membership.c - the membership as bytes, and look-ups in it.
 *
 *   u8 format; u64 version; u16 next_id; u8 rule; u16 designated; u8 ack_policy;
 *   u8 paused; u8 count; count members: u16 id; u8 type; u8 joining; u8 detached;
 *   i32 priority; u64 incarnation; string name; string conninfo
 *
 * The bytes come from a record or from a peer, so decoding checks them for all
 * that the rest of the code takes for granted.
 */
#include "control/control.h"

#define MEMBERSHIP_FORMAT 2

void
membership_encode(const Membership *m, StreamBuf *out)
{
	stream_buf_u8(out, MEMBERSHIP_FORMAT);
	stream_buf_u64(out, m->version);
	stream_buf_u16(out, m->next_id);
	stream_buf_u8(out, m->rule);
	stream_buf_u16(out, m->designated);
	stream_buf_u8(out, m->ack_policy);
	stream_buf_u8(out, m->paused ? 1 : 0);
	Assert(m->count >= 0 && m->count <= CONSENSUS_MAX_MEMBERS);
	stream_buf_u8(out, (uint8) m->count);
	for (int i = 0; i < m->count; i++)
	{
		const Member *member = &m->members[i];

		stream_buf_u16(out, member->voter.id);
		stream_buf_u8(out, member->voter.type);
		stream_buf_u8(out, member->voter.joining);
		stream_buf_u8(out, member->voter.detached);
		stream_buf_u32(out, (uint32) member->voter.priority);
		stream_buf_u64(out, member->incarnation);
		stream_buf_string(out, member->name);
		stream_buf_string(out, member->conninfo);
	}
}

static bool
decode_member(StreamCursor *c, Member *member)
{
	member->voter.id = stream_get_u16(c);
	member->voter.type = stream_get_u8(c);
	member->voter.joining = stream_get_u8(c);
	member->voter.detached = stream_get_u8(c);
	member->voter.priority = (int32) stream_get_u32(c);
	member->incarnation = stream_get_u64(c);
	stream_get_string(c, member->name, sizeof(member->name));
	stream_get_string(c, member->conninfo, sizeof(member->conninfo));
	return !c->failed &&
		member->voter.type >= CONSENSUS_ELECTABLE && member->voter.type <= CONSENSUS_ARBITER &&
		member->voter.joining <= 1 && member->voter.detached <= 1 &&
		member->voter.priority >= 0;
}

bool
membership_decode(const char *bytes, size_t len, Membership *m)
{
	StreamCursor c = {bytes, bytes + len, false};
	int			count;
	uint8		paused;

	memset(m, 0, sizeof(*m));
	if (stream_get_u8(&c) != MEMBERSHIP_FORMAT)
		return false;
	m->version = stream_get_u64(&c);
	m->next_id = stream_get_u16(&c);
	m->rule = stream_get_u8(&c);
	m->designated = stream_get_u16(&c);
	m->ack_policy = stream_get_u8(&c);
	paused = stream_get_u8(&c);
	m->paused = paused != 0;
	count = stream_get_u8(&c);
	if (c.failed || paused > 1 || count > CONSENSUS_MAX_MEMBERS ||
		m->rule > RULE_PREFERRED || m->ack_policy > ACK_ALL)
		return false;
	while (m->count < count)
	{
		Member	   *member = &m->members[m->count];

		if (!decode_member(&c, member))
			return false;
		/* ids are given out once, in rising order; names tell members apart */
		if (member->voter.id == 0 || member->voter.id >= m->next_id ||
			membership_find(m, member->voter.id) != NULL ||
			member->name[0] == '\0' || membership_find_name(m, member->name) != NULL)
			return false;
		m->count++;
	}
	return c.p == c.end;
}

Member *
membership_find(Membership *m, uint16 id)
{
	for (int i = 0; i < m->count; i++)
	{
		if (m->members[i].voter.id == id)
			return &m->members[i];
	}
	return NULL;
}

Member *
membership_find_name(Membership *m, const char *name)
{
	for (int i = 0; i < m->count; i++)
	{
		if (strcmp(m->members[i].name, name) == 0)
			return &m->members[i];
	}
	return NULL;
}

void
membership_voters(const Membership *m, ConsensusMembership *out)
{
	memset(out, 0, sizeof(*out));
	out->rule = m->rule;
	out->designated = m->designated;
	out->paused = m->paused;
	out->count = m->count;
	for (int i = 0; i < m->count; i++)
	{
		out->member[i] = m->members[i].voter;
		out->member[i].order = 0;
		for (int k = 0; k < m->count; k++)
			out->member[i].order += strcmp(m->members[k].name, m->members[i].name) < 0;
	}
}
