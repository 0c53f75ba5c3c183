/*
 * link_members.c - the primary tells each member the membership in force.
 *
 * On an open link it goes ahead of the frames that hold it, again when it is
 * committed, and after each handshake: so a replica has a change in its control
 * file before it acknowledges the frame of the change, and holds what the primary
 * of its term holds, whatever an earlier one has left there.
 *
 * A member that was removed is told too, once that is committed: its link carries
 * nothing else any more, and ends with the answer, or after LINK_LEAVING_MS.  One
 * that is not there learns it when it next shakes hands with anybody.
 */
#include "baton.h"

#include "catalog/pg_type.h"
#include "ship/link.h"

#define LINK_LEAVING_MS 20000

/* Has the link something to tell, and a session of this reign to do it in? */
bool
link_members_due(const Link *link)
{
	const Shipper *ship = link->ship;

	return link->step == STEP_OPEN && link->term != 0 && ship->view.primary &&
		link->term == ship->view.term && link->n_calls < LINK_MAX_CALLS &&
		(link->told_version != ship->membership.version ||
		 link->told_committed != ship->membership_committed);
}

/*
 * Put the membership into the pipeline if it has changed.  False: the link has
 * failed.
 */
bool
link_tell_members(Link *link)
{
	const Shipper *ship = link->ship;
	TalkParams	p = {0};

	if (!link_members_due(link))
		return true;
	talk_int4(&p, ship->view.self);
	talk_int8(&p, link->term);
	talk_bytes(&p, BYTEAOID, ship->membership_bytes, ship->membership_len);
	talk_bytes(&p, BYTEAOID, ship->before_bytes, ship->membership_committed ? 0 : ship->before_len);
	if (!link_stream_call(link, MEMBERS_STATEMENT, &p))
		return false;
	link_note_call(link, CALL_MEMBERS, 0, 0);
	link->told_version = ship->membership.version;
	link->told_committed = ship->membership_committed;
	return true;
}

/* The member is one no more: tell it, or end at once if nobody listens. */
void
link_leave(Link *link)
{
	if (link->leaving_until == 0)
		link->leaving_until = link->ship->view.now + LINK_LEAVING_MS;
	link->gone = !link->ship->view.primary || link->step != STEP_OPEN || link->term == 0;
}

/* The turn of a link that leaves.  Sets link->gone at its end. */
void
link_turn_leaving(Link *link)
{
	const Shipper *ship = link->ship;
	bool		told = link->told_version == ship->membership.version && link->told_committed;

	if (ship->membership_committed && !told && link_tell_members(link) && !link_stream_flush(link))
		return;
	told = link->told_version == ship->membership.version && link->told_committed;
	if ((told && link->n_calls == 0) || ship->view.now >= link->leaving_until ||
		link->step != STEP_OPEN || link->term != ship->view.term || !ship->view.primary)
		link->gone = true;
	link_due(link, link->leaving_until);
}
