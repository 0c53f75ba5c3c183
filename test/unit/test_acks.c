/*
 * test_acks.c - counting acknowledgements, and mapping them back to the own WAL.
 */
#include "capture/ack_map.h"
#include "ship/acks.h"
#include "unit.h"

#define TERM_END 1000

static Membership m;
static AckView v;
static AckPlaces p;

/* A group of `n` electable members, led by member 1, whose log is flushed to 9000. */
static void
group(int n, uint8 policy)
{
	memset(&m, 0, sizeof(m));
	memset(&v, 0, sizeof(v));
	m.count = n;
	m.ack_policy = policy;
	for (int i = 0; i < n; i++)
	{
		m.members[i].voter.id = i + 1;
		m.members[i].voter.type = CONSENSUS_ELECTABLE;
	}
	v.policy = policy;
	v.self = 1;
	v.own_flushed = v.own_end = 9000;
	v.lead_start = TERM_END;
}

/* Member id has this much on disk, and a little less in its tables. */
static void
peer(uint16 id, StreamPos flushed)
{
	AckPeer    *peer = &v.peers[v.n_peers++];

	peer->id = id;
	peer->streams = true;
	peer->written = peer->flushed = flushed;
	peer->applied = flushed - 100;
}

static void
count(void)
{
	acks_count(&v, &m, &p);
}

static void
alone(void)
{
	group(1, ACK_MAJORITY);
	count();
	CHECK(p.committed == 9000 && p.flush == 9000 && p.apply == 9000 && p.write == 9000);
	v.lead_start = 0;
	count();
	CHECK(p.committed == 0 && p.flush == 0);
	group(1, ACK_ONE);
	count();
	CHECK(p.committed == 9000 && p.flush == 0 && p.apply == 0);
}

static void
two(void)
{
	group(2, ACK_MAJORITY);
	count();
	CHECK(p.committed == 0 && p.flush == 0);
	peer(2, 5000);
	count();
	CHECK(p.committed == 5000 && p.flush == 5000 && p.apply == 4900);
	v.policy = ACK_ONE;
	count();
	CHECK(p.flush == 5000);
	v.policy = ACK_ALL;
	count();
	CHECK(p.flush == 5000);
	v.policy = ACK_NONE;
	count();
	CHECK(p.flush == 9000 && p.committed == 5000);
}

static void
only_behind_the_term_record(void)
{
	group(2, ACK_MAJORITY);
	peer(2, TERM_END - 1);
	count();
	CHECK(p.committed == 0 && p.flush == 0);
	v.peers[0].flushed = v.peers[0].written = TERM_END;
	count();
	CHECK(p.committed == TERM_END && p.flush == TERM_END);
	/* its tables are still before it */
	CHECK(p.apply == 0);
}

/* From two voters, member 2 designated, to three: until that is committed, member 2
 * might elect itself alone. */
static void
designated_before(void)
{
	Membership	before;

	group(2, ACK_MAJORITY);
	before = m;
	before.rule = RULE_DESIGNATED;
	before.designated = 2;
	CHECK(acks_bound(&before, 1) == 2);
	CHECK(acks_bound(&before, 2) == 0);
	group(3, ACK_MAJORITY);
	CHECK(acks_bound(&m, 1) == 0);
	v.bound = 2;
	peer(3, 7000);
	count();
	CHECK(p.flush == 0 && p.committed == 0);
	peer(2, 4000);
	count();
	CHECK(p.flush == 4000 && p.committed == 4000);
}

static void
three(void)
{
	group(3, ACK_ONE);
	peer(2, 5000);
	peer(3, 7000);
	count();
	CHECK(p.flush == 7000 && p.committed == 7000);
	v.policy = ACK_MAJORITY;
	count();
	CHECK(p.flush == 7000);
	v.policy = ACK_ALL;
	count();
	CHECK(p.flush == 5000 && p.apply == 4900);
	v.n_peers = 1;
	count();
	CHECK(p.flush == 0 && p.committed == 5000);
}

static void
five(void)
{
	group(5, ACK_MAJORITY);
	peer(2, 5000);
	count();
	CHECK(p.flush == 0 && p.committed == 0);
	peer(3, 7000);
	count();
	CHECK(p.flush == 5000 && p.committed == 5000);
	peer(4, 6000);
	count();
	CHECK(p.flush == 6000);
	peer(5, 2000);
	count();
	CHECK(p.flush == 6000);
	v.policy = ACK_ALL;
	count();
	CHECK(p.flush == 2000);
	v.policy = ACK_ONE;
	count();
	CHECK(p.flush == 7000 && p.committed == 6000);
}

static void
never_beyond_the_own_disk(void)
{
	group(3, ACK_ONE);
	v.own_flushed = v.own_end = 4000;
	peer(2, 5000);
	count();
	CHECK(p.flush == 4000 && p.committed == 4000);
	/* shipped beside the own flush: what the policy asks for is counted beside it too */
	v.own_end = 4500;
	count();
	CHECK(p.flush == 4500 && p.write == 4500 && p.committed == 4000);
	v.own_end = 6000;
	count();
	CHECK(p.flush == 5000 && p.apply == 4900 && p.committed == 4000);
}

static void
who_does_not_count(void)
{
	group(3, ACK_ONE);
	m.members[2].voter.type = CONSENSUS_SECONDARY;
	peer(3, 7000);
	count();
	CHECK(p.flush == 0 && p.committed == 0);
	peer(2, 5000);
	count();
	CHECK(p.flush == 5000 && p.committed == 5000);

	group(3, ACK_ALL);
	m.members[2].voter.joining = 1;
	peer(2, 5000);
	peer(3, 1500);
	count();
	CHECK(p.flush == 5000);

	/* detached: in the size, not among those who acknowledge */
	group(3, ACK_ALL);
	m.members[2].voter.detached = 1;
	peer(2, 5000);
	peer(3, 7000);
	count();
	CHECK(p.flush == 0 && p.committed == 5000);

	/* what an earlier session told */
	group(2, ACK_MAJORITY);
	peer(2, 5000);
	v.peers[0].streams = false;
	count();
	CHECK(p.flush == 0 && p.committed == 0);
}

static void
arbiter_has_no_tables(void)
{
	group(3, ACK_MAJORITY);
	m.members[2].voter.type = CONSENSUS_ARBITER;
	peer(2, 5000);
	peer(3, 8000);
	count();
	CHECK(p.flush == 8000 && p.committed == 8000 && p.apply == 4900);
	v.policy = ACK_ALL;
	count();
	CHECK(p.flush == 5000 && p.apply == 4900);

	/* one node with tables: applied is what is flushed as asked */
	group(3, ACK_MAJORITY);
	m.members[1].voter.type = m.members[2].voter.type = CONSENSUS_ARBITER;
	peer(2, 5000);
	count();
	CHECK(p.flush == 5000 && p.apply == 5000);
}

static void
designated_alone(void)
{
	group(2, ACK_ALL);
	m.rule = RULE_DESIGNATED;
	m.designated = 1;
	CHECK(acks_solo(&m, 1) && !acks_solo(&m, 2));
	count();
	CHECK(p.flush == 0);
	v.alone = true;
	count();
	CHECK(p.flush == 9000 && p.committed == 9000);
	m.designated = 2;
	CHECK(!acks_solo(&m, 1));
}

static void
reachable(void)
{
	group(1, ACK_NONE);
	CHECK(acks_reachable(ACK_NONE, &m, 1, 0));
	CHECK(!acks_reachable(ACK_ONE, &m, 1, 0));
	CHECK(acks_reachable(ACK_MAJORITY, &m, 1, 0) && acks_reachable(ACK_ALL, &m, 1, 0));

	group(2, ACK_NONE);
	CHECK(acks_reachable(ACK_ONE, &m, 1, 0) && acks_reachable(ACK_ALL, &m, 1, 0));
	CHECK(!acks_reachable(ACK_ONE, &m, 2, 1) && !acks_reachable(ACK_MAJORITY, &m, 2, 1));
	CHECK(acks_reachable(ACK_NONE, &m, 2, 1));
	m.rule = RULE_DESIGNATED;
	m.designated = 2;
	CHECK(acks_reachable(ACK_ALL, &m, 2, 1));

	group(3, ACK_NONE);
	CHECK(acks_reachable(ACK_ONE, &m, 2, 1) && acks_reachable(ACK_MAJORITY, &m, 2, 1));
	CHECK(!acks_reachable(ACK_ALL, &m, 2, 1));
	m.members[2].voter.detached = 1;
	CHECK(!acks_reachable(ACK_MAJORITY, &m, 2, 1));
	m.members[2].voter.detached = 0;
	m.members[2].voter.type = CONSENSUS_SECONDARY;
	CHECK(!acks_reachable(ACK_ONE, &m, 2, 1));
}

static void
names(void)
{
	for (int i = 0; i <= ACK_ALL; i++)
		CHECK(ack_policy_parse(ack_policy_name(i)) == i);
	CHECK(ack_policy_parse("some") == -1);
}

/* ---- the map ---- */

static void
map_order(void)
{
	static AckMap map;

	CHECK(ack_map_take(&map, 100) == 0);
	ack_map_note(&map, 100, 10);
	ack_map_note(&map, 200, 20);
	ack_map_note(&map, 200, 25);
	ack_map_note(&map, 300, 30);
	CHECK(map.n == 3);
	CHECK(ack_map_take(&map, 99) == 0 && map.n == 3);
	CHECK(ack_map_take(&map, 250) == 25 && map.n == 1);
	CHECK(ack_map_take(&map, 250) == 0);
	CHECK(ack_map_take(&map, 1000) == 30 && map.n == 0);
}

/* Whatever is dropped when it is full, nothing is acknowledged too early, and all in the end. */
static void
map_full(void)
{
	static AckMap map;
	uint64		acked = 0;

	for (uint64 i = 1; i <= 10000; i++)
	{
		ack_map_note(&map, i * 100, i);
		CHECK(map.n <= ACK_MAP_SIZE);
		/* the acknowledgements come 500 pairs late, each third time */
		if (i > 500 && i % 3 == 0)
		{
			uint64		lsn = ack_map_take(&map, (i - 500) * 100);

			if (lsn > 0)
				acked = lsn;
			CHECK(acked <= i - 500);
			CHECK(i < 1000 || acked + 20 >= i - 500);
		}
	}
	CHECK(acked > 9400);
	CHECK(ack_map_take(&map, 10000 * 100) == 10000 && map.n == 0);
}

int
main(void)
{
	TEST(alone);
	TEST(two);
	TEST(only_behind_the_term_record);
	TEST(three);
	TEST(five);
	TEST(never_beyond_the_own_disk);
	TEST(who_does_not_count);
	TEST(arbiter_has_no_tables);
	TEST(designated_alone);
	TEST(designated_before);
	TEST(reachable);
	TEST(names);
	TEST(map_order);
	TEST(map_full);
	return unit_done();
}
