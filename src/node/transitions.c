/*
 * transitions.c - the numbered table of a node's states.
 *
 * A node is `down` while its server starts, and whenever its coordinator does not
 * run.  From there it is what its control file says: `detached`, `copying`, or
 * `unknown`, which looks for a primary.  Only `primary` takes writes; all but
 * `down` and `copying` serve reads of whatever has been applied.
 *
 *                    ┌─────────────┐
 *        ┌──────────►│   primary   ├──┐
 *        │           └──┬───▲──────┘  │
 *     unknown ◄─────────┘   │         ├──► detached ──start()──► unknown
 *      ▲  ▲  │           replica ─────┤
 *      │  │  └────────────► │ ▲       └──► copying ──► replica, unknown
 *      │  └─────────────────┘
 *     down ◄── any
 *
 * Consensus decides (node/update.c), a person or a finding detaches; whatever
 * the cause, coordinator_publish() shows the new state, and looks its row up
 * here.  A change that has no row is a bug, and is reported as one.
 * baton.transitions() shows the table.
 */
#include "baton.h"

#include "funcapi.h"
#include "node/transitions.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(baton_transitions);

static const NodeTransition transitions[] =
{
	{1, NODE_DOWN, NODE_UNKNOWN,
		"the coordinator has started, and the node takes part in its group",
	"gate closed, reads served; asks the members who leads"},
	{2, NODE_DOWN, NODE_COPYING,
		"the coordinator has started, and a copy is not complete",
	"the copy worker starts over"},
	{3, NODE_DOWN, NODE_DETACHED,
		"the coordinator has started, and the node was out of service, or its slot or its server is not its own any more",
	"gate closed; waits for a person, see reason"},

	{10, NODE_UNKNOWN, NODE_REPLICA,
		"a primary is heard",
	"finds the last frame that both logs have, receives, applies"},
	{11, NODE_UNKNOWN, NODE_PRIMARY,
		"elected, resumed alone by the two-node rule, handed the lead, or promoted by force",
	"vote and term on disk, TERM record; the gate opens when all before it is applied"},
	{12, NODE_UNKNOWN, NODE_DETACHED,
		"stop(), removed from the group, handed over by failover(), or something that a person must look at",
	"takes no part until start(); see reason"},
	{13, NODE_UNKNOWN, NODE_COPYING,
		"it has commits that the group does not have, or what it lacks is kept no longer",
	"rolls them back and copies the rows that they touched, or takes a new copy"},
	{14, NODE_UNKNOWN, NODE_DOWN,
		"the coordinator has ended, or the control file or the log cannot be used",
	"gate closed; the launcher starts the next coordinator"},

	{20, NODE_REPLICA, NODE_PRIMARY,
		"handed the lead by the old primary, or promoted by force",
	"vote and term on disk, TERM record; the gate opens when all before it is applied"},
	{21, NODE_REPLICA, NODE_UNKNOWN,
		"the primary is silent, a higher term was seen, or it stands for election",
	"serves reads; asks the members who leads, and stands when it may"},
	{22, NODE_REPLICA, NODE_DETACHED,
		"stop(), removed from the group, or something that a person must look at",
	"takes no part until start(); see reason"},
	{23, NODE_REPLICA, NODE_COPYING,
		"it has commits that the group does not have, or what it lacks is kept no longer",
	"rolls them back and copies the rows that they touched, or takes a new copy"},
	{24, NODE_REPLICA, NODE_DOWN,
		"the coordinator has ended, or the control file or the log cannot be used",
	"gate closed; the launcher starts the next coordinator"},

	{30, NODE_PRIMARY, NODE_UNKNOWN,
		"handed over by its vote, lost its lease, or saw a higher term",
	"gate closed, writers cancelled; appends nothing any more"},
	{31, NODE_PRIMARY, NODE_REPLICA,
		"another node leads in a higher term",
	"gate closed, writers cancelled; syncs up with the new primary"},
	{32, NODE_PRIMARY, NODE_DETACHED,
		"stop(), or something that a person must look at",
	"gate closed; what is committed goes into the log first"},
	{33, NODE_PRIMARY, NODE_DOWN,
		"the coordinator has ended, or its server stops",
	"the gate is held: writers wait for the next coordinator"},

	{40, NODE_COPYING, NODE_REPLICA,
		"the copy of the database, or of the rows that were rolled back, is complete, and a primary is heard",
	"applies the stream from there on"},
	{41, NODE_COPYING, NODE_UNKNOWN,
		"the copy is complete, or rows are being mended, and no primary is heard",
	"asks the members who leads"},
	{42, NODE_COPYING, NODE_DETACHED,
		"removed from the group, or something that a person must look at",
	"takes no part until start(); see reason"},
	{43, NODE_COPYING, NODE_DOWN,
		"the coordinator has ended",
	"the copy starts over with the next one"},

	{50, NODE_DETACHED, NODE_UNKNOWN,
		"start(), or rejoin()",
	"asks the members who leads"},
	{51, NODE_DETACHED, NODE_COPYING,
		"it takes a new copy in place of the data that it cannot go on with",
	"the copy worker starts"},
	{52, NODE_DETACHED, NODE_DOWN,
		"the coordinator has ended",
	"gate closed; the launcher starts the next coordinator"},
};

const NodeTransition *
transition_find(NodeState from, NodeState to)
{
	for (int i = 0; i < lengthof(transitions); i++)
		if (transitions[i].from == from && transitions[i].to == to)
			return &transitions[i];
	return NULL;
}

/*
 * baton.transitions() returns setof (number, from_state, to_state, cause, action)
 */
Datum
baton_transitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(transitions); i++)
	{
		const NodeTransition *t = &transitions[i];
		Datum		values[5];
		bool		nulls[5] = {false};

		values[0] = Int32GetDatum(t->number);
		values[1] = CStringGetTextDatum(node_state_name(t->from));
		values[2] = CStringGetTextDatum(node_state_name(t->to));
		values[3] = CStringGetTextDatum(t->cause);
		values[4] = CStringGetTextDatum(t->action);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
