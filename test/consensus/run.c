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
 * The group:
 *   group TYPE...             one word per member: electable, secondary, arbiter
 *   rule strict|designated N|preferred N     N 0: the designation is moving
 *   pause, unpause            no candidacies by timeout, and these again
 *   member N WORD...          detached, attached, joining, joined, removed, added,
 *                             priority=P, order=P, TYPE
 *   change NN... COMMAND      one of these three, not committed yet, and only these
 *                             nodes (digits) know of it; else all nodes do at once
 *   committed N               node N learns that the change is committed
 *
 * Nodes:
 *   disk N term=T vote=N log=T:POS floor=T:POS promise=MS was-primary|was-replica
 *   timeout N MS              election timeout, 1000 if not set; before its start
 *   random MS                 the random number in all events, 0 if not set
 *   start N, stop N, crash N, wake N
 *   write N                   a frame of 10 bytes into the log
 *   copy A->B                 B gets what A's log has
 *   may-lead N yes|no
 *   promote N [force]
 *   failover N TARGET ATTEMPT MS     N writes FAILOVER and begins; deadline in MS
 *   seen N FROM ATTEMPT [T]   N has applied FAILOVER, which FROM wrote (in term T)
 *   abandon N ATTEMPT
 *   peer-term N T [LEADER]    N sees term T
 *   heard N FROM T MS         N hears that FROM has answered what N sent MS from now
 *
 * Time and the network (A->B, * stands for any node):
 *   tick MS                   time passes, nodes are called when they asked for it;
 *                             what they send again meanwhile is told once
 *   freeze MS                 time passes, and nobody is called
 *   heartbeats MS             the same, with heartbeats of all primaries each 250
 *   heartbeat A->B            a heartbeat of primary A reaches B, its answer reaches A
 *   lost-answer A->B          its answer does not
 *   receiver A->B             it has reached B beside the core, no answer yet
 *   contact A->B [T]          a frame of primary A (in term T) that asks for no lease
 *   deliver [A->B]            all messages, and the answers to them; or those from A
 *                             to B that wait now
 *   lose [A->B], double A->B
 *   cut A->B, heal            nothing gets through; all gets through again
 *
 * To look at:
 *   state                     what each node is
 *   leases                    until when each primary may keep its gate open
 *
 * A node that comes to lead writes its TERM record at once.
 */
#include "play.h"

#include <stdio.h>
#include <string.h>

static Play play;

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

/* Who has a change of members on disk, so that nobody without it can be elected? */
static bool
blocks(void)
{
	static const struct
	{
		int			voters;
		uint8_t		rule;
		uint16_t	designated;
		int			n;			/* members 1..n have it */
		bool		expected;
	}			cases[] = {
		{1, RULE_STRICT, 0, 0, false}, {1, RULE_STRICT, 0, 1, true},
		{2, RULE_STRICT, 0, 1, true}, {2, RULE_STRICT, 0, 2, true},
		{2, RULE_DESIGNATED, 1, 1, true}, {2, RULE_DESIGNATED, 2, 1, false},
		{2, RULE_DESIGNATED, 2, 2, true}, {2, RULE_DESIGNATED, 0, 1, true},
		{2, RULE_PREFERRED, 1, 1, false}, {2, RULE_PREFERRED, 1, 2, true},
		{3, RULE_DESIGNATED, 3, 1, false}, {3, RULE_DESIGNATED, 3, 2, true},
		{4, RULE_STRICT, 0, 1, false}, {4, RULE_STRICT, 0, 2, true},
	};
	static const uint16_t ids[] = {1, 2};
	bool		ok = true;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		ConsensusMembership m = {0};

		m.rule = cases[i].rule;
		m.designated = cases[i].designated;
		for (m.count = 0; m.count < cases[i].voters; m.count++)
		{
			m.member[m.count].id = (uint16_t) (m.count + 1);
			m.member[m.count].type = CONSENSUS_ELECTABLE;
		}
		if (consensus_blocks(&m, ids, cases[i].n) != cases[i].expected)
			printf("consensus_blocks: case %d\n", (int) i);
		ok = ok && consensus_blocks(&m, ids, cases[i].n) == cases[i].expected;
	}
	return ok;
}

/* Messages that no member sends are not answered, and change nothing. */
static bool
nonsense(void)
{
	static const struct
	{
		uint16_t	from;
		uint16_t	to;
		uint8_t		type;
		uint64_t	ask_term;
	}			cases[] = {
		{2, 3, MSG_VOTE_REQUEST, TERM_MAKE(0, 5, 2)},	/* to another */
		{1, 1, MSG_VOTE_REQUEST, TERM_MAKE(0, 5, 1)},	/* from itself */
		{0, 1, MSG_VOTE_REQUEST, TERM_MAKE(0, 5, 0)},	/* from nobody */
		{2, 1, MSG_VOTE_REQUEST, TERM_MAKE(0, 5, 3)},	/* for another's term */
		{2, 1, MSG_TRANSFER_REQUEST, TERM_MAKE(0, 5, 3)},
		{2, 1, MSG_VOTE_RESPONSE, TERM_MAKE(0, 5, 1)},	/* to what was not asked */
		{2, 1, MSG_TRANSFER_RESPONSE, TERM_MAKE(0, 5, 1)},
		{2, 1, 0, 0},
	};
	static const ConsensusConfig config = {1000, 200};
	const ConsensusDurable durable = {0};
	ConsensusMembership members = {0};
	Consensus	core;
	ConsensusUpdate u;
	bool		ok = true;

	for (members.count = 0; members.count < 3; members.count++)
	{
		members.member[members.count].id = (uint16_t) (members.count + 1);
		members.member[members.count].type = CONSENSUS_ELECTABLE;
	}
	consensus_init(&core, 1, &durable, &members, &config);
	for (size_t i = 0; i < 1 + sizeof(cases) / sizeof(cases[0]); i++)
	{
		ConsensusEvent e = {0};

		e.now = 1;
		e.type = i == 0 ? EV_START : EV_MESSAGE;
		if (i > 0)
		{
			e.message.from = cases[i - 1].from;
			e.message.to = cases[i - 1].to;
			e.message.type = cases[i - 1].type;
			e.message.ask_term = cases[i - 1].ask_term;
			e.message.granted = 1;
		}
		consensus_step(&core, &e, &u);
		ok = ok && (i == 0 || (u.n_messages == 0 && !u.persist && !u.role_changed));
	}
	if (!ok)
		printf("a message that makes no sense does something\n");
	return ok;
}

int
main(int argc, char **argv)
{
	bool		rewrite = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
	int			passed = (wire_form() ? 1 : 0) + (blocks() ? 1 : 0) + (nonsense() ? 1 : 0);
	int			failed = 3 - passed;

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
