/*
 * change.c - changes of the members that a session asks for: add, remove, change
 * a priority, the rule for two voters, pause and resume, the ack policy.
 *
 * A change first waits for its turn: the own TERM record and the change before it
 * must be committed.  Then it is made from the membership in force at that moment,
 * and the session has its answer when a majority has acknowledged it.  Patience
 * ends after CHANGE_MS; a change that is in force by then stays so.
 *
 * The ack policy is another matter: nobody's vote hangs on it, and it may have to be
 * lifted just because nobody acknowledges.  The session has its answer when it is in
 * force on this node.
 *
 * A designation moves in two changes: first nobody is designated, so that both
 * voters are needed, and once that is committed the other one is.
 */
#include "node/coordinator.h"

#include "ship/acks.h"

#define CHANGE_MS 8000

bool
change_is_command(CommandKind kind)
{
	return kind == COMMAND_ADD_MEMBER || kind == COMMAND_CHANGE_MEMBER ||
		kind == COMMAND_REMOVE_MEMBER || kind == COMMAND_SET_RULE || kind == COMMAND_SET_PAUSED ||
		kind == COMMAND_SET_ACK_POLICY;
}

static bool
refuse(Coordinator *c, const char *message, const char *detail, const char *hint)
{
	command_finish(c, false, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message, detail, hint);
	return false;
}

/* ---- what each command makes of the membership ----
 * They return false when the command is answered: refused, or nothing to do. */

static bool
streams(Coordinator *c, uint16 id)
{
	PeerShared *peer;
	bool		yes;

	if (id == c->control.self)
		return true;
	LWLockAcquire(&c->node->peer_lock, LW_SHARED);
	peer = node_peer(c->node, id);
	yes = peer != NULL && peer->link == LINK_STREAMING;
	LWLockRelease(&c->node->peer_lock);
	return yes;
}

/* Voters that this node does not stream to, by name; *up: how many are there. */
static char *
voters_down(Coordinator *c, const Membership *m, int *up, int *voters)
{
	char	   *names = pstrdup("");

	*up = *voters = 0;
	for (int i = 0; i < m->count; i++)
	{
		const Member *member = &m->members[i];

		if (member->voter.type == CONSENSUS_SECONDARY || member->voter.joining)
			continue;
		(*voters)++;
		if (streams(c, member->voter.id))
			(*up)++;
		else
			names = psprintf("%s%s\"%s\"", names, names[0] ? ", " : "", member->name);
	}
	return names;
}

static bool
make_added(Coordinator *c, Membership *m)
{
	Member		member = c->node->command.member;
	int			up,
				voters;
	char	   *down = voters_down(c, m, &up, &voters);

	if (membership_find_name(m, member.name) != NULL)
	{
		command_finish(c, false, ERRCODE_DUPLICATE_OBJECT,
					   psprintf("the group has a node named \"%s\" already", member.name), NULL,
					   "Choose another name, or remove that node with baton.remove_node().");
		return false;
	}
	if (m->count == CONSENSUS_MAX_MEMBERS)
	{
		command_finish(c, false, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
					   psprintf("a group has %d nodes at most", CONSENSUS_MAX_MEMBERS), NULL, NULL);
		return false;
	}
	if (member.voter.type != CONSENSUS_SECONDARY && up < voters / 2 + 1)
		return refuse(c, "a node that votes can only join while a majority of the voters is up",
					  psprintf("The primary does not reach %s.", down),
					  "Start them, or remove those that are lost with baton.remove_node().");
	member.voter.id = m->next_id++;
	member.voter.joining = 1;
	m->members[m->count++] = member;
	c->node->command.target = member.voter.id;
	snprintf(c->change.note, sizeof(c->change.note), "\"%s\" joins the group", member.name);
	return true;
}

static bool
make_changed(Coordinator *c, Membership *m)
{
	const Member *wanted = &c->node->command.member;
	Member	   *member = membership_find(m, wanted->voter.id);

	if (member == NULL)
		return refuse(c, "the group has no such member", NULL, NULL);
	if (member->voter.type != CONSENSUS_ELECTABLE && wanted->voter.priority > 0)
		return refuse(c, psprintf("\"%s\" never leads, so it has no priority", member->name),
					  member->voter.type == CONSENSUS_ARBITER ? "It is an arbiter." : "It is a secondary.", NULL);
	member->voter.priority = wanted->voter.priority;
	snprintf(c->change.note, sizeof(c->change.note), "\"%s\" has priority %d",
			 member->name, member->voter.priority);
	return true;
}

static bool
make_removed(Coordinator *c, Membership *m)
{
	uint16		id = c->node->command.target;
	Member	   *member = membership_find(m, id);
	int			at;

	if (id == c->control.self)
		return refuse(c, "the primary cannot remove itself", NULL,
					  "Hand the lead over with baton.failover() first.");
	if (member == NULL)
	{
		/* a leave_group() that is called again after it had failed half way */
		command_finish(c, true, 0, NULL, NULL, NULL);
		return false;
	}
	if (m->rule == RULE_DESIGNATED && m->designated == id && !c->forced_reign)
		return refuse(c, psprintf("\"%s\" is the designated node", member->name),
					  "It could lead by itself as long as it does not know of its removal.",
					  "Call baton.set_designated() with another node, or with NULL, first; if it is lost for good, take the lead by baton.promote(force => true).");
	snprintf(c->change.note, sizeof(c->change.note), "\"%s\" has left the group", member->name);
	at = (int) (member - m->members);
	memmove(&m->members[at], &m->members[at + 1], sizeof(Member) * (m->count - at - 1));
	m->count--;
	memset(&m->members[m->count], 0, sizeof(Member));
	return true;
}

/* Why a member cannot be the one of a rule, or NULL. */
static const char *
unfit_for_rule(Coordinator *c, const Membership *m, uint16 id)
{
	const Member *member = membership_find((Membership *) m, id);

	if (member == NULL)
		return "the group has no such member";
	if (member->voter.type != CONSENSUS_ELECTABLE || member->voter.joining)
		return psprintf("\"%s\" is no electable full member", member->name);
	return NULL;
}

static bool
make_ruled(Coordinator *c, Membership *m)
{
	uint8		rule = c->node->command.rule;
	uint16		id = c->node->command.target;
	int			up,
				voters;
	char	   *down = voters_down(c, m, &up, &voters);
	const char *unfit = rule == RULE_STRICT ? NULL : unfit_for_rule(c, m, id);

	if (m->rule == rule && m->designated == id)
	{
		command_finish(c, true, 0, NULL, NULL, NULL);
		return false;
	}
	if (voters != 2)
		return refuse(c, "a node is designated or preferred in groups of two voters only",
					  psprintf("This group has %d.", voters), NULL);
	if (unfit != NULL)
		return refuse(c, unfit, NULL, "See baton.nodes for the members.");
	if (up < 2)
		return refuse(c, "the rule of two voters can only be changed while both are up",
					  psprintf("The primary does not reach %s.", down), NULL);
	c->change.again = m->rule == RULE_DESIGNATED && m->designated != 0;
	if (c->change.again)
	{
		m->designated = 0;
		strlcpy(c->change.note, "nobody is designated while the designation moves", sizeof(c->change.note));
		return true;
	}
	m->rule = rule;
	m->designated = id;
	if (rule == RULE_STRICT)
		strlcpy(c->change.note, "the rule of the two voters is strict", sizeof(c->change.note));
	else
		snprintf(c->change.note, sizeof(c->change.note), "\"%s\" is %s",
				 membership_find(m, id)->name, rule == RULE_DESIGNATED ? "designated" : "preferred");
	return true;
}

static bool
make_paused(Coordinator *c, Membership *m)
{
	bool		paused = c->node->command.force;

	if (m->paused == paused)
	{
		command_finish(c, true, 0, NULL, NULL, NULL);
		return false;
	}
	m->paused = paused;
	strlcpy(c->change.note, paused ? "elections by themselves are paused" : "elections by themselves are resumed",
			sizeof(c->change.note));
	return true;
}

static bool
make_ack_policy(Coordinator *c, Membership *m)
{
	m->ack_policy = c->node->command.ack_policy;
	snprintf(c->change.note, sizeof(c->change.note), "the ack policy is \"%s\"",
			 ack_policy_name(m->ack_policy));
	return true;
}

/* No change may leave commits to wait for voters that the group does not have. */
static bool
policy_is_reachable(Coordinator *c, const Membership *m)
{
	const Membership *before = &c->control.membership;
	uint16		self = c->control.self;
	bool		set = m->ack_policy != before->ack_policy;

	if (acks_reachable(m->ack_policy, m, self, 0) ||
		(!set && !acks_reachable(m->ack_policy, before, self, 0)))
		return true;
	return refuse(c, psprintf("the group would have too few voters for the ack policy \"%s\"",
							  ack_policy_name(m->ack_policy)),
				  "Every commit would wait for ever.",
				  set ? "Let another node join the group first." :
				  "Choose another policy with baton.set_ack_policy() first.");
}

/* What the command under way makes of *m. */
static bool
make(Coordinator *c, Membership *m)
{
	switch (c->node->command.kind)
	{
		case COMMAND_ADD_MEMBER:
			return make_added(c, m);
		case COMMAND_CHANGE_MEMBER:
			return make_changed(c, m);
		case COMMAND_REMOVE_MEMBER:
			return make_removed(c, m);
		case COMMAND_SET_RULE:
			return make_ruled(c, m);
		case COMMAND_SET_PAUSED:
			return make_paused(c, m);
		case COMMAND_SET_ACK_POLICY:
			return make_ack_policy(c, m);
		default:
			return refuse(c, "not a change of members", NULL, NULL);
	}
}

/* ---- taking turns ---- */

void
change_begin(Coordinator *c)
{
	memset(&c->change, 0, sizeof(c->change));
	c->change.until = boot_ms() + CHANGE_MS;
	strlcpy(c->change.kind, c->node->command.kind == COMMAND_SET_RULE ? "rule" :
			c->node->command.kind == COMMAND_SET_PAUSED ? "pause" :
			c->node->command.kind == COMMAND_SET_ACK_POLICY ? "ack policy" : "member", sizeof(c->change.kind));
	change_poll(c);
}

/* A change that is not in force yet: may it be now? */
static void
poll_turn(Coordinator *c)
{
	Membership *m = palloc(sizeof(Membership));
	StreamPos	waits_for;

	*m = c->control.membership;
	if (!make(c, m) || !policy_is_reachable(c, m))
		return;
	if (coordinator_may_change_membership(c, m, &waits_for))
	{
		(void) coordinator_change_membership(c, m);
		c->change.version = c->control.membership.version;
		coordinator_note(c, c->change.kind, "%s", c->change.note);
		return;
	}
	if (boot_ms() < c->change.until && !c->node->command.cancel)
		return;
	if (waits_for == 0)
		refuse(c, "the members cannot be changed yet",
			   "The node has not begun its reign, or is handing it over.", "Try again later.");
	else
		refuse(c, "the members cannot be changed: a majority has not acknowledged what came before",
			   psprintf("No acknowledgement is here from %s.", coordinator_missing_voters(c, waits_for)),
			   "Start these nodes, or see baton.stat_replication for what is in their way.");
}

/* A change that is in force: has a majority acknowledged it? */
static void
poll_commit(Coordinator *c)
{
	if (c->node->command.kind == COMMAND_SET_ACK_POLICY)
	{
		if (coordinator_policy_settled(c))
			command_finish(c, true, 0, NULL, NULL, NULL);
		else if (c->node->command.cancel)
			refuse(c, "the call was cancelled; the change is made", NULL, "See baton.status.");
		return;
	}
	if (c->control.membership_committed || c->forced_reign)
	{
		if (c->change.again)
		{
			c->change.version = 0;
			poll_turn(c);
		}
		else
			command_finish(c, true, 0, NULL, NULL, NULL);
		return;
	}
	if (boot_ms() < c->change.until && !c->node->command.cancel)
		return;
	refuse(c, "the change is made, but a majority has not acknowledged it yet",
		   psprintf("No acknowledgement is here from %s.", coordinator_missing_voters(c, c->membership_end)),
		   "It is in force on this node, and will be on the others when they are back.");
}

/*
 * Look whether the change under way is over.
 */
void
change_poll(Coordinator *c)
{
	if (c->consensus.role != ROLE_PRIMARY || c->failover.phase != PHASE_IDLE)
		refuse(c, "members can only be changed on the primary, and not during a failover", NULL,
			   "See baton.status for the primary.");
	else if (c->change.version == 0)
		poll_turn(c);
	else
		poll_commit(c);
}
