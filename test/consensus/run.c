/*
 * run.c - plays conversations with the consensus core.
 *
 *   run [--rewrite] script...
 *
 * A script is a text: comments (#), commands, and below each command, indented by
 * two spaces, what the nodes then do.  The runner plays the commands and compares;
 * --rewrite writes down what happens instead.  Terms are written forced.reign.member,
 * places in the log term:position.  Messages wait in the network until delivered.
 *
 *   group TYPE...             one word per member: electable, secondary, arbiter
 *   rule designated N         strict is the default
 *   pause                     no candidacies by timeout
 *   member N WORD...          changes a member on all nodes: detached, attached,
 *                             joining, joined, priority0, TYPE
 *   disk N term=T vote=N log=T:POS was-primary|was-replica
 *   start N, stop N, crash N
 *   tick MS                   time passes, nodes are called when they asked for it
 *   deliver [A->B]            all messages, and the answers to them; or those from A
 *                             to B that wait now; * stands for any node
 *   lose [A->B], double A->B
 *   write N                   a frame of 10 bytes into the log
 *   copy A->B                 B gets what A's log has
 *   contact A->B [T]          a heartbeat of primary A (in term T) reaches B
 *   peer-term N T [LEADER]    N sees term T
 *   may-lead N yes|no
 *   promote N [force]
 *   failover N TARGET ATTEMPT MS     N writes FAILOVER and begins; deadline in MS
 *   seen N FROM ATTEMPT [T]   N has applied FAILOVER, which FROM wrote (in term T)
 *   abandon N ATTEMPT
 *   state                     what each node is
 *
 * A node that comes to lead writes its TERM record at once.
 */
#include "consensus/consensus.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS	16
#define MAX_PENDING 256
#define MAX_TEXT	(1 << 18)

typedef struct Node
{
	Consensus	core;
	ConsensusDurable disk;
	bool		was_primary;
	ConsensusPlace log;
	bool		up;
	bool		cannot_lead;
	uint64_t	next_tick;
} Node;

typedef struct Play
{
	const char *file;
	int			line;
	uint64_t	now;
	ConsensusMembership members;
	Node		node[CONSENSUS_MAX_MEMBERS + 1];
	int			n_pending;
	ConsensusMessage pending[MAX_PENDING];
	int			n_text;
	char		text[MAX_TEXT];
} Play;

static Play play;

/* ---- text ---- */

static void
bad_script(Play *p, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", p->file, p->line, what);
	exit(2);
}

static void
put(Play *p, const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	p->n_text += vsnprintf(p->text + p->n_text, (size_t) (MAX_TEXT - p->n_text), format, args);
	va_end(args);
	if (p->n_text >= MAX_TEXT)
		bad_script(p, "too much output");
}

static const char *
term_text(uint64_t term)
{
	static char text[8][32];
	static int	next;

	next = (next + 1) % 8;
	snprintf(text[next], sizeof(text[next]), "%u.%lu.%u", (unsigned) TERM_FORCED(term),
			 (unsigned long) TERM_REIGN(term), (unsigned) TERM_MEMBER(term));
	return text[next];
}

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

static int
node_number(Play *p, const char *word)
{
	int			n = atoi(word);

	if (n < 1 || n > p->members.count)
		bad_script(p, "no such node");
	return n;
}

/* ---- what a node does ---- */

static const char *const campaign_names[] = {"", " (resume)", " (promote)", " (transfer)",
" (elect)"};

static void
put_message(Play *p, const ConsensusMessage *m)
{
	static const char *const names[] = {"", "vote request", "vote response",
	"transfer request", "transfer response", "leader"};

	put(p, "  %d -> %d: %s%s", m->from, m->to, m->pre ? "pre-" : "", names[m->type]);
	if (m->ask_term != 0)
		put(p, " %s", term_text(m->ask_term));
	if (m->type == MSG_VOTE_REQUEST || m->type == MSG_TRANSFER_REQUEST)
		put(p, " log %s:%lu", term_text(m->place.term), (unsigned long) m->place.pos);
	if (m->attempt != 0)
		put(p, " attempt %lu", (unsigned long) m->attempt);
	if (m->release_from != 0)
		put(p, " released by %d", m->release_from);
	if (m->type == MSG_VOTE_RESPONSE || m->type == MSG_TRANSFER_RESPONSE)
		put(p, m->granted ? " granted" : " refused: %s",
			consensus_refusal_text((ConsensusRefusal) m->refusal));
	if (m->type == MSG_LEADER && m->leader == 0)
		put(p, "?");
	if (m->leader != 0)
		put(p, ", %d leads %s", m->leader, term_text(m->leader_term));
	put(p, "\n");
}

static void
put_update(Play *p, int n, ConsensusRole before, const ConsensusUpdate *u)
{
	static const char *const outcomes[] = {"", "elected", "resumed", "forced", "transferred",
	"handed over", "stepped down", "attempt void", "lost", "lease lost"};
	const Consensus *c = &p->node[n].core;

	if (u->persist)
		put(p, "  %d persists term %s vote %d%s\n", n, term_text(c->durable.term),
			c->durable.voted_for, c->may_resume ? ", may resume" : "");
	if (u->role_changed)
		put(p, "  %d: %s -> %s%s\n", n, consensus_role_name(before),
			consensus_role_name(c->role), campaign_names[c->campaign]);
	if (u->outcome == OUTCOME_LOST)
		put(p, "  %d: lost: %s\n", n, consensus_refusal_text(u->refusal));
	else if (u->outcome != OUTCOME_NONE)
		put(p, "  %d: %s\n", n, outcomes[u->outcome]);
}

static void
step(Play *p, int n, ConsensusEvent *e)
{
	Node	   *node = &p->node[n];
	ConsensusRole before = node->core.role;
	ConsensusUpdate u;

	if (!node->up)
		return;
	e->now = p->now;
	e->log = node->log;
	e->may_lead = !node->cannot_lead;
	consensus_step(&node->core, e, &u);
	node->next_tick = u.next_tick;
	if (u.persist)
	{
		node->disk = node->core.durable;
		node->was_primary = node->core.may_resume;
	}
	put_update(p, n, before, &u);
	for (int i = 0; i < u.n_messages; i++)
	{
		uint8_t		bytes[CONSENSUS_MESSAGE_LEN];

		put_message(p, &u.message[i]);
		if (p->n_pending == MAX_PENDING)
			bad_script(p, "too many messages wait");
		consensus_message_encode(&u.message[i], bytes);
		if (!consensus_message_decode(bytes, sizeof(bytes), &p->pending[p->n_pending++]))
			bad_script(p, "a message does not decode");
	}
	if (u.role_changed && node->core.role == ROLE_PRIMARY)
	{
		node->log.term = node->core.durable.term;
		node->log.pos += 10;
	}
}

static void
step_type(Play *p, int n, ConsensusEventType type)
{
	ConsensusEvent e = {0};

	e.type = type;
	step(p, n, &e);
}

/* ---- commands ---- */

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

static void
do_group(Play *p, char **word, int n)
{
	if (n > CONSENSUS_MAX_MEMBERS)
		bad_script(p, "too many members");
	p->members.count = n;
	for (int i = 0; i < n; i++)
	{
		p->members.member[i].id = (uint16_t) (i + 1);
		p->members.member[i].priority = 100;
		set_type(p, &p->members.member[i], word[i]);
	}
}

static void
do_member(Play *p, char **word, int n)
{
	ConsensusMember *member = &p->members.member[node_number(p, word[0]) - 1];

	for (int i = 1; i < n; i++)
	{
		if (strcmp(word[i], "detached") == 0 || strcmp(word[i], "attached") == 0)
			member->detached = word[i][0] == 'd';
		else if (strcmp(word[i], "joining") == 0 || strcmp(word[i], "joined") == 0)
			member->joining = strcmp(word[i], "joining") == 0;
		else if (strcmp(word[i], "priority0") == 0)
			member->priority = 0;
		else
			set_type(p, member, word[i]);
	}
	for (int i = 1; i <= p->members.count; i++)
	{
		ConsensusEvent e = {0};

		e.type = EV_MEMBERSHIP;
		e.members = &p->members;
		step(p, i, &e);
	}
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
		else if (strcmp(word[i], "was-primary") == 0)
			node->was_primary = true;
		else if (strcmp(word[i], "was-replica") == 0)
			node->was_primary = false;
		else
			bad_script(p, "disk N term=T vote=N log=T:POS was-primary|was-replica");
	}
}

static void
do_start(Play *p, int n)
{
	static const ConsensusConfig config = {1000, 200};
	Node	   *node = &p->node[n];
	ConsensusEvent e = {0};

	if (!node->up)
		consensus_init(&node->core, (uint16_t) n, &node->disk, &p->members, &config);
	node->up = true;
	e.type = EV_START;
	e.was_primary = node->was_primary;
	step(p, n, &e);
}

/* Time goes on to the next moment that a node asked for, until it is over. */
static void
do_tick(Play *p, uint64_t ms)
{
	uint64_t	end = p->now + ms;

	for (;;)
	{
		int			next = 0;

		for (int i = 1; i <= p->members.count; i++)
		{
			if (p->node[i].up && p->node[i].next_tick != 0 &&
				(next == 0 || p->node[i].next_tick < p->node[next].next_tick))
				next = i;
		}
		if (next == 0 || p->node[next].next_tick > end)
			break;
		if (p->node[next].next_tick > p->now)
			p->now = p->node[next].next_tick;
		step_type(p, next, EV_TICK);
	}
	p->now = end;
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

/* Takes the first of the first *limit waiting messages on a path out. */
static bool
take(Play *p, int from, int to, int *limit, ConsensusMessage *m)
{
	for (int i = 0; i < *limit; i++)
	{
		if ((from != 0 && p->pending[i].from != from) || (to != 0 && p->pending[i].to != to))
			continue;
		*m = p->pending[i];
		memmove(&p->pending[i], &p->pending[i + 1],
				sizeof(*m) * (size_t) (--p->n_pending - i));
		--*limit;
		return true;
	}
	return false;
}

static void
do_deliver(Play *p, const char *where)
{
	ConsensusEvent e = {0};
	int			from = 0;
	int			to = 0;
	int			limit = p->n_pending;

	if (where != NULL)
		path(p, where, &from, &to);
	e.type = EV_MESSAGE;
	while (take(p, from, to, &limit, &e.message))
	{
		step(p, e.message.to, &e);
		if (where == NULL)
			limit = p->n_pending;
	}
}

static void
do_lose(Play *p, const char *where)
{
	ConsensusMessage m;
	int			from = 0;
	int			to = 0;
	int			limit = p->n_pending;

	if (where != NULL)
		path(p, where, &from, &to);
	while (take(p, from, to, &limit, &m))
		;
}

static void
do_double(Play *p, const char *where)
{
	int			from,
				to,
				n = p->n_pending;

	path(p, where, &from, &to);
	for (int i = 0; i < n && p->n_pending < MAX_PENDING; i++)
	{
		if ((from == 0 || p->pending[i].from == from) && (to == 0 || p->pending[i].to == to))
			p->pending[p->n_pending++] = p->pending[i];
	}
}

static void
do_contact(Play *p, char **word, int n)
{
	ConsensusEvent e = {0};
	int			from,
				to;

	path(p, word[0], &from, &to);
	e.type = EV_LEADER_CONTACT;
	e.leader = (uint16_t) from;
	e.term = n > 1 ? term_value(p, word[1]) : p->node[from].core.durable.term;
	for (int i = 1; i <= p->members.count; i++)
	{
		if (i == to || (to == 0 && i != from))
			step(p, i, &e);
	}
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
do_state(Play *p)
{
	for (int i = 1; i <= p->members.count; i++)
	{
		const Node *node = &p->node[i];

		put(p, "  %d: %s%s term %s vote %d log %s:%lu", i,
			node->up ? consensus_role_name(node->core.role) : "down",
			campaign_names[node->core.campaign], term_text(node->disk.term),
			node->disk.voted_for, term_text(node->log.term), (unsigned long) node->log.pos);
		if (node->up && node->core.leader != 0)
			put(p, " leader %d", node->core.leader);
		put(p, "\n");
	}
}

/* Commands about one node, by number. */
static bool
node_command(Play *p, const char *name, char **word, int n)
{
	int			node = node_number(p, word[0]);
	ConsensusEvent e = {0};

	if (strcmp(name, "start") == 0)
		do_start(p, node);
	else if (strcmp(name, "stop") == 0)
		step_type(p, node, EV_STOP);
	else if (strcmp(name, "crash") == 0)
	{
		p->node[node].up = false;
		memset(&p->node[node].core, 0, sizeof(Consensus));
	}
	else if (strcmp(name, "write") == 0)
		p->node[node].log.pos += 10;
	else if (strcmp(name, "may-lead") == 0 && n > 1)
		p->node[node].cannot_lead = strcmp(word[1], "no") == 0;
	else if (strcmp(name, "promote") == 0)
	{
		e.type = EV_PROMOTE;
		e.force = n > 1 && strcmp(word[1], "force") == 0;
		step(p, node, &e);
	}
	else if (strcmp(name, "peer-term") == 0 && n > 1)
	{
		e.type = EV_PEER_TERM;
		e.term = term_value(p, word[1]);
		e.leader = n > 2 ? (uint16_t) node_number(p, word[2]) : 0;
		step(p, node, &e);
	}
	else if (strcmp(name, "abandon") == 0 && n > 1)
	{
		e.type = EV_FAILOVER_ABANDON;
		e.attempt = strtoull(word[1], NULL, 10);
		step(p, node, &e);
	}
	else if (strcmp(name, "failover") == 0 && n > 3)
		do_failover(p, word);
	else if (strcmp(name, "seen") == 0 && n > 2)
		do_seen(p, word, n);
	else if (strcmp(name, "member") == 0)
		do_member(p, word, n);
	else if (strcmp(name, "disk") == 0)
		do_disk(p, word, n);
	else
		return false;
	return true;
}

static void
command(Play *p, char **word, int n)
{
	const char *name = word[0];
	const char *arg = n > 1 ? word[1] : NULL;

	if (strcmp(name, "group") == 0)
		do_group(p, word + 1, n - 1);
	else if (strcmp(name, "state") == 0)
		do_state(p);
	else if (strcmp(name, "pause") == 0)
		p->members.paused = true;
	else if (strcmp(name, "deliver") == 0)
		do_deliver(p, arg);
	else if (strcmp(name, "lose") == 0)
		do_lose(p, arg);
	else if (arg == NULL)
		bad_script(p, "unknown command, or words are missing");
	else if (strcmp(name, "tick") == 0)
		do_tick(p, strtoull(arg, NULL, 10));
	else if (strcmp(name, "double") == 0)
		do_double(p, arg);
	else if (strcmp(name, "contact") == 0)
		do_contact(p, word + 1, n - 1);
	else if (strcmp(name, "rule") == 0 && strcmp(arg, "designated") == 0 && n > 2)
	{
		p->members.rule = RULE_DESIGNATED;
		p->members.designated = (uint16_t) node_number(p, word[2]);
	}
	else if (strcmp(name, "copy") == 0)
	{
		int			from,
					to;

		path(p, arg, &from, &to);
		p->node[to].log = p->node[from].log;
	}
	else if (!node_command(p, name, word + 1, n - 1))
		bad_script(p, "unknown command, or words are missing");
}

/* ---- scripts ---- */

static void
play_line(Play *p, const char *line)
{
	char		copy[256];
	char	   *word[MAX_WORDS];
	int			n = 0;

	p->line++;
	if (strncmp(line, "  ", 2) == 0)
		return;					/* output of the last time */
	put(p, "%s", line);
	snprintf(copy, sizeof(copy), "%s", line);
	copy[strcspn(copy, "#\n")] = '\0';
	for (char *w = strtok(copy, " \t"); w != NULL && n < MAX_WORDS; w = strtok(NULL, " \t"))
		word[n++] = w;
	if (n > 0)
		command(p, word, n);
}

/* Shows the first line that differs. */
static void
put_difference(const char *file, const char *expected, const char *got)
{
	int			line = 1;
	const char *a = expected;
	const char *b = got;

	for (; *a != '\0' && *b != '\0'; line++)
	{
		size_t		la = strcspn(a, "\n");
		size_t		lb = strcspn(b, "\n");

		if (la != lb || strncmp(a, b, la) != 0)
			break;
		a += la + (a[la] != '\0');
		b += lb + (b[lb] != '\0');
	}
	printf("%s:%d:\n  expected: %.*s\n  got:      %.*s\n", file, line,
		   (int) strcspn(a, "\n"), a, (int) strcspn(b, "\n"), b);
}

static bool
play_script(const char *file, bool rewrite)
{
	static char expected[MAX_TEXT];
	char		line[256];
	FILE	   *f = fopen(file, "r");

	memset(&play, 0, sizeof(play));
	play.file = file;
	play.now = 1;
	if (f == NULL)
		bad_script(&play, "cannot be read");
	expected[fread(expected, 1, sizeof(expected) - 1, f)] = '\0';
	rewind(f);
	while (fgets(line, sizeof(line), f) != NULL)
		play_line(&play, line);
	fclose(f);
	if (strcmp(expected, play.text) == 0)
		return true;
	if (!rewrite)
	{
		put_difference(file, expected, play.text);
		return false;
	}
	f = fopen(file, "w");
	if (f == NULL || fputs(play.text, f) < 0 || fclose(f) != 0)
		bad_script(&play, "cannot be written");
	printf("%s: rewritten\n", file);
	return true;
}

/* Bytes that do not fit are refused: each damage is one byte and its new value. */
static bool
wire_form(void)
{
	static const int damage[][2] = {{0, 2}, {1, 0}, {1, 9}, {2, 8}, {3, 200}, {4, 0}, {6, 0},
	{6, 1}};
	ConsensusMessage m = {0};
	ConsensusMessage decoded;
	uint8_t		good[CONSENSUS_MESSAGE_LEN];
	uint8_t		bad[CONSENSUS_MESSAGE_LEN];
	bool		ok;

	m.type = MSG_VOTE_REQUEST;
	m.from = 1;
	m.to = 2;
	consensus_message_encode(&m, good);
	ok = consensus_message_decode(good, CONSENSUS_MESSAGE_LEN, &decoded) &&
		!consensus_message_decode(good, CONSENSUS_MESSAGE_LEN - 1, &decoded);
	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++)
	{
		memcpy(bad, good, sizeof(bad));
		bad[damage[i][0]] = (uint8_t) damage[i][1];
		ok = ok && !consensus_message_decode(bad, CONSENSUS_MESSAGE_LEN, &decoded);
	}
	if (!ok)
		printf("the wire form takes what does not fit\n");
	return ok;
}

int
main(int argc, char **argv)
{
	bool		rewrite = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
	int			passed = wire_form() ? 1 : 0;
	int			failed = 1 - passed;

	for (int i = rewrite ? 2 : 1; i < argc; i++)
	{
		if (play_script(argv[i], rewrite))
			passed++;
		else
			failed++;
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
