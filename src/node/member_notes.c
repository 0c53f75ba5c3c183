/*
 * member_notes.c - says in baton.events what another node has changed of the
 * members.
 *
 * The primary notes each change as the command that it was; every other node gets
 * whole memberships, and compares.
 */
#include "node/coordinator.h"

#include "node/member_notes.h"

static const char *
type_name(uint8 type)
{
	return type == CONSENSUS_ELECTABLE ? "electable" :
		type == CONSENSUS_SECONDARY ? "secondary" : "arbiter";
}

static void
note_change(Coordinator *c, const Member *before, const Member *now)
{
	if (before->voter.joining && !now->voter.joining)
		coordinator_note(c, "member", "\"%s\" has caught up and is a full member", now->name);
	if (before->voter.priority != now->voter.priority)
		coordinator_note(c, "member", "\"%s\" has priority %d", now->name, now->voter.priority);
	if (before->voter.type != now->voter.type)
		coordinator_note(c, "member", "\"%s\" is of type %s", now->name, type_name(now->voter.type));
	if (before->voter.detached != now->voter.detached)
		coordinator_note(c, "member", "\"%s\" is %s", now->name,
						 now->voter.detached ? "out of service" : "in service again");
	if (strcmp(before->conninfo, now->conninfo) != 0)
		coordinator_note(c, "member", "\"%s\" is reached in another way", now->name);
}

static void
note_rules(Coordinator *c, const Membership *before, const Membership *now)
{
	static const char *const rules[] = {"strict", "designated", "preferred"};
	static const char *const policies[] = {"none", "one", "majority", "all"};
	Member	   *m = membership_find((Membership *) now, now->designated);

	if (before->rule != now->rule || before->designated != now->designated)
		coordinator_note(c, "rule", "the rule for two voters is %s%s%s%s", rules[now->rule],
						 m ? ": \"" : "", m ? m->name : "", m ? "\"" : "");
	if (before->ack_policy != now->ack_policy)
		coordinator_note(c, "ack policy", "commits wait for %s", policies[now->ack_policy]);
	if (before->paused != now->paused)
		coordinator_note(c, "pause", "automatic elections are %s", now->paused ? "paused" : "allowed");
}

/*
 * Note what differs between the members as they were and as they are in force.
 */
void
coordinator_note_members(Coordinator *c, const Membership *before)
{
	Membership *now = &c->control.membership;

	for (int i = 0; i < now->count; i++)
	{
		Member	   *was = membership_find((Membership *) before, now->members[i].voter.id);

		if (was == NULL)
			coordinator_note(c, "member", "\"%s\" joins the group", now->members[i].name);
		else
			note_change(c, was, &now->members[i]);
	}
	for (int i = 0; i < before->count; i++)
		if (membership_find(now, before->members[i].voter.id) == NULL)
			coordinator_note(c, "member", "\"%s\" has left the group", before->members[i].name);
	note_rules(c, before, now);
}
