/*
 * gate_primary.c - says where the primary is, and why this node is none.
 *
 * A member's conninfo was written for the other nodes: it may hold a password,
 * and names their role.  Of all its options only the address is told to clients.
 */
#include "failover/gate_internal.h"

#include "lib/stringinfo.h"
#include "libpq-fe.h"
#include "ship/peer_conn.h"

/* Append the address in a conninfo; nothing if it cannot be parsed. */
static void
append_address(StringInfo out, const char *conninfo)
{
	static const char *const parts[] = {"host", "hostaddr", "port", "dbname"};
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);

	if (options == NULL)
		return;
	for (int i = 0; i < lengthof(parts); i++)
		for (PQconninfoOption *o = options; o->keyword != NULL; o++)
		{
			if (o->val == NULL || strcmp(o->keyword, parts[i]) != 0)
				continue;
			appendStringInfoChar(out, ' ');
			peer_append_option(out, o->keyword, o->val);
		}
	PQconninfoFree(options);
}

/*
 * Why this node does not lead, as baton.status.reason has it, palloc'd, or NULL.
 * Raises no error, like gate_primary_hint().
 */
char *
gate_reason(NodeShared *node)
{
	bool		locked = LWLockHeldByMe(&node->state_lock);
	char	   *reason;

	if (!locked)
		LWLockAcquire(&node->state_lock, LW_SHARED);
	reason = node->reason[0] != '\0' ? pstrdup(node->reason) : NULL;
	if (!locked)
		LWLockRelease(&node->state_lock);
	return reason;
}

/*
 * A sentence for errhint(): the name and address of the node's primary, or that
 * none is known.  Palloc'd.  Also called while an error is being reported, so it
 * raises none itself.
 */
char *
gate_primary_hint(NodeShared *node)
{
	StringInfoData hint;
	Member		leader;
	bool		found = false;
	bool		self;
	bool		locked = LWLockHeldByMe(&node->state_lock);

	if (!locked)
		LWLockAcquire(&node->state_lock, LW_SHARED);
	self = node->leader != 0 && node->leader == node->self;
	for (int i = 0; i < node->membership.count && !found; i++)
	{
		if (node->leader == 0 || node->membership.members[i].voter.id != node->leader)
			continue;
		leader = node->membership.members[i];
		found = true;
	}
	if (!locked)
		LWLockRelease(&node->state_lock);

	if (self)
		return pstrdup("This node leads its group, but does not take writes at present; try again, and see baton.status.");
	if (!found)
		return pstrdup("The group's primary is not known at present; try again.");
	initStringInfo(&hint);
	appendStringInfo(&hint, "Connect to the primary \"%s\":", leader.name);
	append_address(&hint, leader.conninfo);
	return hint.data;
}
