/*
 * commands.c - the commands of a script; run.c lists them.
 */
#include "play.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* ---- words ---- */

static uint64_t
term_value(Play *p, const char *word)
{
	unsigned	forced,
				reign,
				member;

	if (sscanf(word, "%u.%u.%u", &forced, &reign, &member) != 3)
		bad_script(p, "a term is forced.reign.member");
	return TERM_MAKE(forced, reign, member);
}

static ConsensusPlace
place_value(Play *p, const char *word)
{
	ConsensusPlace place;
	const char *colon = strchr(word, ':');

	if (colon == NULL)
		bad_script(p, "a place is term:position");
	place.term = term_value(p, word);
	place.pos = strtoull(colon + 1, NULL, 10);
	return place;
}

static int
node_number(Play *p, const char *word)
{
	int			n = atoi(word);

	if (n < 1 || n > p->n)
		bad_script(p, "no such node");
	return n;
}

/* "A->B"; 0 stands for any. */
static void
path(Play *p, const char *word, int *from, int *to)
{
	const char *arrow = strstr(word, "->");

	if (arrow == NULL)
		bad_script(p, "a path is A->B");
	*from = word[0] == '*' ? 0 : node_number(p, word);
	*to = arrow[2] == '*' ? 0 : node_number(p, arrow + 2);
}

/* ---- members ---- */

static void
set_type(Play *p, ConsensusMember *member, const char *word)
{
	if (strcmp(word, "electable") == 0)
		member->type = CONSENSUS_ELECTABLE;
	else if (strcmp(word, "secondary") == 0)
		member->type = CONSENSUS_SECONDARY;
	else if (strcmp(word, "arbiter") == 0)
		member->type = CONSENSUS_ARBITER;
	else
		bad_script(p, "not a type of member");
}

/* Those of the nodes that are members, in the order of their names. */
static void
membership(const Play *p, ConsensusMembership *m)
{
	*m = p->members;
	m->count = 0;
	for (int i = 0; i < p->n; i++)
	{
		if (!p->removed[i + 1])
			m->member[m->count++] = p->members.member[i];
	}
}

/* Tells these nodes of the members; NULL: all.  Uncommitted: with what was before. */
static void
announce(Play *p, const char *nodes, bool uncommitted)
{
	for (int i = 1; i <= p->n; i++)
	{
		Node	   *node = &p->node[i];
		ConsensusEvent e = {0};

		if (nodes != NULL && strchr(nodes, '0' + i) == NULL)
			continue;
		node->has_before = uncommitted;
		node->before = node->members;
		membership(p, &node->members);
		e.type = EV_MEMBERSHIP;
		e.members = &node->members;
		e.before = uncommitted ? &node->before : NULL;
		step(p, i, &e);
	}
}

static void
do_group(Play *p, char **word, int n)
{
	if (n > CONSENSUS_MAX_MEMBERS)
		bad_script(p, "too many members");
	p->n = n;
	p->members.count = n;
	for (int i = 0; i < n; i++)
	{
		p->members.member[i].id = (uint16_t) (i + 1);
		p->members.member[i].order = (uint16_t) i;
		p->members.member[i].priority = 100;
		p->node[i + 1].timeout = 1000;
		set_type(p, &p->members.member[i], word[i]);
	}
	announce(p, NULL, false);
}

static void
set_member(Play *p, char **word, int n)
{
	int			id = node_number(p, word[0]);
	ConsensusMember *member = &p->members.member[id - 1];

	for (int i = 1; i < n; i++)
	{
		if (strcmp(word[i], "detached") == 0 || strcmp(word[i], "attached") == 0)
			member->detached = word[i][0] == 'd';
		else if (strcmp(word[i], "joining") == 0 || strcmp(word[i], "joined") == 0)
			member->joining = strcmp(word[i], "joining") == 0;
		else if (strcmp(word[i], "removed") == 0 || strcmp(word[i], "added") == 0)
			p->removed[id] = word[i][0] == 'r';
		else if (strncmp(word[i], "priority", 8) == 0)
			member->priority = atoi(word[i] + 8 + (word[i][8] == '='));
		else if (strncmp(word[i], "order=", 6) == 0)
			member->order = (uint16_t) atoi(word[i] + 6);
		else
			set_type(p, member, word[i]);
	}
}

static void
set_rule(Play *p, char **word, int n)
{
	if (strcmp(word[0], "strict") == 0)
		p->members.rule = RULE_STRICT;
	else if (strcmp(word[0], "designated") == 0)
		p->members.rule = RULE_DESIGNATED;
	else if (strcmp(word[0], "preferred") == 0)
		p->members.rule = RULE_PREFERRED;
	else
		bad_script(p, "rule strict|designated N|preferred N");
	p->members.designated = n > 1 && strcmp(word[1], "0") != 0 ?
		(uint16_t) node_number(p, word[1]) : 0;
}

/* What changes the members; false if the command is another. */
static bool
change_members(Play *p, const char *name, char **word, int n)
{
	if (strcmp(name, "member") == 0 && n > 0)
		set_member(p, word, n);
	else if (strcmp(name, "rule") == 0 && n > 0)
		set_rule(p, word, n);
	else if (strcmp(name, "pause") == 0 || strcmp(name, "unpause") == 0)
		p->members.paused = name[0] == 'p';
	else
		return false;
	return true;
}

/* ---- nodes ---- */

static void
do_disk(Play *p, char **word, int n)
{
	Node	   *node = &p->node[node_number(p, word[0])];

	for (int i = 1; i < n; i++)
	{
		if (strncmp(word[i], "term=", 5) == 0)
			node->disk.term = term_value(p, word[i] + 5);
		else if (strncmp(word[i], "vote=", 5) == 0)
			node->disk.voted_for = (uint16_t) atoi(word[i] + 5);
		else if (strncmp(word[i], "log=", 4) == 0)
			node->log = place_value(p, word[i] + 4);
		else if (strncmp(word[i], "floor=", 6) == 0)
			node->floor = place_value(p, word[i] + 6);
		else if (strncmp(word[i], "promise=", 8) == 0)
			node->disk.promise_ms = (uint32_t) atoi(word[i] + 8);
		else if (strcmp(word[i], "was-primary") == 0)
			node->was_primary = true;
		else if (strcmp(word[i], "was-replica") == 0)
			node->was_primary = false;
		else
			bad_script(p, "disk N term=T vote=N log=T:POS floor=T:POS promise=MS was-primary|was-replica");
	}
}

static void
do_start(Play *p, int n)
{
	Node	   *node = &p->node[n];
	ConsensusConfig config = {node->timeout, 200};
	ConsensusEvent e = {0};

	if (!node->up)
		consensus_init(&node->core, (uint16_t) n, &node->disk, &node->members, &config);
	node->up = true;
	e.type = EV_START;
	e.was_primary = node->was_primary;
	e.before = node->has_before ? &node->before : NULL;
	step(p, n, &e);
}

static void
do_crash(Play *p, int n)
{
	Node	   *node = &p->node[n];

	node->up = false;
	node->fetch_from = 0;
	memset(&node->core, 0, sizeof(node->core));
	memset(&node->promise, 0, sizeof(node->promise));
}

static void
do_failover(Play *p, char **word)
{
	int			n = node_number(p, word[0]);
	ConsensusEvent e = {0};

	p->node[n].log.pos += 10;
	e.type = EV_FAILOVER_BEGIN;
	e.target = (uint16_t) node_number(p, word[1]);
	e.attempt = strtoull(word[2], NULL, 10);
	e.deadline = p->now + strtoull(word[3], NULL, 10);
	step(p, n, &e);
}

static void
do_seen(Play *p, char **word, int n)
{
	int			to = node_number(p, word[0]);
	ConsensusEvent e = {0};

	e.type = EV_FAILOVER_SEEN;
	e.target = (uint16_t) to;
	e.leader = (uint16_t) node_number(p, word[1]);
	e.attempt = strtoull(word[2], NULL, 10);
	e.term = n > 3 ? term_value(p, word[3]) : p->node[to].log.term;
	step(p, to, &e);
}

static void
do_committed(Play *p, int n)
{
	p->node[n].has_before = false;
	step_type(p, n, EV_MEMBERSHIP_COMMITTED);
}

/* Commands that raise an event with something in it. */
static bool
event_command(Play *p, const char *name, int node, char **word, int n)
{
	ConsensusEvent e = {0};

	if (strcmp(name, "promote") == 0)
	{
		e.type = EV_PROMOTE;
		e.force = n > 1 && strcmp(word[1], "force") == 0;
	}
	else if (strcmp(name, "peer-term") == 0 && n > 1)
	{
		e.type = EV_PEER_TERM;
		e.term = term_value(p, word[1]);
		e.leader = n > 2 ? (uint16_t) node_number(p, word[2]) : 0;
	}
	else if (strcmp(name, "heard") == 0 && n > 3)
	{
		e.type = EV_HEARD;
		e.leader = (uint16_t) atoi(word[1]);
		e.term = term_value(p, word[2]);
		e.sent = p->now + (uint64_t) atoll(word[3]);
	}
	else if (strcmp(name, "abandon") == 0 && n > 1)
	{
		e.type = EV_FAILOVER_ABANDON;
		e.attempt = strtoull(word[1], NULL, 10);
	}
	else
		return false;
	step(p, node, &e);
	return true;
}

/* Commands about one node, by number. */
static bool
node_command(Play *p, const char *name, char **word, int n)
{
	int			node = node_number(p, word[0]);

	if (strcmp(name, "start") == 0)
		do_start(p, node);
	else if (strcmp(name, "stop") == 0)
		step_type(p, node, EV_STOP);
	else if (strcmp(name, "crash") == 0)
		do_crash(p, node);
	else if (strcmp(name, "wake") == 0)
		step_type(p, node, EV_TICK);
	else if (strcmp(name, "write") == 0)
		p->node[node].log.pos += 10;
	else if (strcmp(name, "may-lead") == 0 && n > 1)
		p->node[node].cannot_lead = strcmp(word[1], "no") == 0;
	else if (strcmp(name, "timeout") == 0 && n > 1)
		p->node[node].timeout = (uint32_t) atoi(word[1]);
	else if (strcmp(name, "failover") == 0 && n > 3)
		do_failover(p, word);
	else if (strcmp(name, "seen") == 0 && n > 2)
		do_seen(p, word, n);
	else if (strcmp(name, "committed") == 0)
		do_committed(p, node);
	else if (strcmp(name, "disk") == 0)
		do_disk(p, word, n);
	else
		return event_command(p, name, node, word, n);
	return true;
}

/* Commands about a link between nodes. */
static bool
path_command(Play *p, const char *name, char **word, int n)
{
	int			from = 0;
	int			to = 0;
	const Node *node;

	if (n > 0 && strstr(word[0], "->") != NULL)
		path(p, word[0], &from, &to);
	node = &p->node[from];
	if (strcmp(name, "deliver") == 0)
		deliver(p, from, to, n == 0);
	else if (strcmp(name, "lose") == 0)
		lose(p, from, to);
	else if (strcmp(name, "double") == 0)
		repeat(p, from, to);
	else if (strcmp(name, "heal") == 0)
		memset(p->cut, 0, sizeof(p->cut));
	else if (n == 0)
		return false;
	else if (strcmp(name, "cut") == 0)
	{
		for (int i = 1; i <= p->n; i++)
		{
			for (int k = 1; k <= p->n; k++)
				p->cut[i][k] |= (from == 0 || i == from) && (to == 0 || k == to);
		}
	}
	else if (strcmp(name, "copy") == 0)
		p->node[to].log = node->log;
	else if (strcmp(name, "contact") == 0)
		contact(p, from, to, n > 1 ? term_value(p, word[1]) : node->core.durable.term, 0, false);
	else if (strcmp(name, "heartbeat") == 0)
		contact(p, from, to, node->core.durable.term, node->timeout, true);
	else if (strcmp(name, "lost-answer") == 0)
		contact(p, from, to, node->core.durable.term, node->timeout, false);
	else if (strcmp(name, "receiver") == 0)
	{
		ConsensusPromise promise = {node->core.durable.term, (uint16_t) from,
		p->now + CONSENSUS_PROMISE_MS(node->timeout)};

		p->node[to].promise = promise;
	}
	else
		return false;
	return true;
}

void
command(Play *p, char **word, int n)
{
	const char *name = word[0];
	uint64_t	ms = n > 1 ? strtoull(word[1], NULL, 10) : 0;

	if (strcmp(name, "group") == 0)
		do_group(p, word + 1, n - 1);
	else if (strcmp(name, "state") == 0)
		put_state(p);
	else if (strcmp(name, "leases") == 0)
		put_leases(p);
	else if (strcmp(name, "tick") == 0)
		pass_time(p, ms);
	else if (strcmp(name, "freeze") == 0)
		p->now += ms;
	else if (strcmp(name, "random") == 0)
		p->random = (uint32_t) ms;
	else if (strcmp(name, "heartbeats") == 0)
	{
		p->n_before = p->n_text;
		for (; ms >= 250; ms -= 250)
		{
			beat(p);
			pass_time(p, 250);
		}
		p->n_before = 0;
	}
	else if (strcmp(name, "change") == 0 && n > 2 &&
			 change_members(p, word[2], word + 3, n - 3))
		announce(p, word[1], true);
	else if (change_members(p, name, word + 1, n - 1))
		announce(p, NULL, false);
	else if (!path_command(p, name, word + 1, n - 1) &&
			 (n < 2 || !node_command(p, name, word + 1, n - 1)))
		bad_script(p, "unknown command, or words are missing");
}
