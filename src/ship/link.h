/*
 * link.h - the shipper's links: one per member, each a small state machine.
 * Private to the shipper (shipper.c, link*.c, watch_link.c).
 *
 * The data connection's steps, and what moves it between them:
 *
 *	 OFF       --wanted, and its pause is over-->      CONNECT
 *	 CONNECT   --connected-->                          HANDSHAKE
 *	 HANDSHAKE --'ok', the replica's log end is ours-> OPEN
 *			   --'ok', it is not-->                    SEARCH
 *	 SEARCH    --last common frame found-->            CUT
 *	 CUT       --'ok'-->                               OPEN
 *	 HANDSHAKE,
 *	 SEARCH    --what comes next is kept no longer-->  GONE
 *	 GONE      --it has been told to take a new copy--> OFF
 *	 OPEN      --this node leads another term-->       HANDSHAKE
 *			   --not leading and idle-->               OFF
 *	 any       --error, refusal, no answer in time-->  OFF, with a pause that
 *				 doubles from 100 ms to baton.reconnect_max_delay; while nobody
 *				 is led it is short, for the messages are those of an election
 *
 * Guarantees: frames are sent in OPEN only, only while link->term, the term of
 * the handshake, is the term that this node leads, only what is flushed here or is just
 * being flushed (shared_log.c), and in order: link->sent is where the next frame starts.
 *
 * Lease.  Every append and every watch states the lease that this node asks for;
 * the answer says whether it was promised, and then renews it, counted from the
 * sending.  Signs of life without frames leave on all links at the same time, at
 * multiples of the interval, so that what several voters promise ends together.
 */
#ifndef BATON_LINK_H
#define BATON_LINK_H

#include "baton.h"

#include "ship/lag.h"
#include "ship/talk.h"
#include "storage/latch.h"

typedef struct Shipper Shipper;

/* What the links need to know of the node: looked up once per turn of the loop. */
typedef struct ShipView
{
	uint64		now;			/* boot_ms(), at most a turn of the loop old */
	TimestampTz wall;
	bool		primary;		/* this node leads `term` */
	bool		watching;		/* watch the others: primary, or was until just now */
	bool		peer_notify;	/* the coordinator waits for a peer's place */
	uint16		self;
	uint64		term;
	uint32		lease_ms;		/* primary: what to ask for, 0 its own lease has lapsed */
	StreamPos	committed;		/* primary: in `term`, 0 not known */
	StreamPos	lead_start;		/* end of the TERM record of `term`, 0 not flushed yet */
	bool		apply_wanted;	/* somebody waits for what is applied */
	StreamTail	tail;
	StreamPos	share_floor;	/* nobody follows from a place before it */
	StreamPos	ship_end;		/* frames before it may be shipped, see shared_log.c */
} ShipView;

typedef enum LinkStep
{
	STEP_OFF = 0,
	STEP_CONNECT,
	STEP_HANDSHAKE,
	STEP_SEARCH,
	STEP_CUT,
	STEP_GONE,
	STEP_OPEN
} LinkStep;

typedef enum CallKind
{
	CALL_PREPARE,
	CALL_APPEND,
	CALL_DELIVER,
	CALL_MEMBERS
} CallKind;

/* A call in the pipeline that has not been answered. */
typedef struct Call
{
	CallKind	kind;
	StreamPos	end;			/* APPEND: end of its last frame, 0 a heartbeat */
	size_t		bytes;
	uint64		sent_at;
	uint32		lease;			/* APPEND: that it states */
} Call;

#define LINK_MAX_CALLS		64	/* power of two */
/* Small batches beyond this many wait for an answer and grow into one, for each costs
 * an fsync; but not where answers take longer than LINK_NEAR_MS, up to so many. */
#define LINK_SMALL_CALLS	2
#define LINK_NEAR_MS		2
/* A frame that was shipped ahead of its flush is followed by the news that it is flushed,
 * within this time: with the next append, or with one of its own. */
#define LINK_TELL_MS		5
#define LINK_FAR_CALLS		16
/* So many calls under way are sign of life enough. */
#define LINK_BEAT_CALLS		4
#define LINK_LARGE_BATCH	(256 * 1024)
#define LINK_BATCH			FRAME_MAX_LEN
#define LINK_IDLE_MS		10000
#define LINK_FIRST_PAUSE_MS 100
/* Messages of an election don't wait longer until a dead member is tried again. */
#define LINK_MESSAGE_PAUSE_MS 250
#define LINK_SYNC_MS		25000	/* a step of the handshake may wait for two processes there */
/* A watcher is between two calls for a moment: messages give it this long. */
#define LINK_WATCHER_MS		20

/* Looking for the last common frame. */
typedef struct LinkSearch
{
	StreamPos	low;			/* no place before it comes into question */
	StreamPos	high;			/* none behind it */
	bool		at_high;		/* the question under way is about `high` */
	StreamPos	start;			/* the common frame, once found */
	StreamPos	end;
	uint64		frame_term;
} LinkSearch;

typedef enum WatchStep
{
	WATCH_OFF = 0,
	WATCH_CONNECT,
	WATCH_HANDSHAKE,
	WATCH_PREPARE,
	WATCH_READY,
	WATCH_ASKED
} WatchStep;

/* The second connection: what the peer tells of itself. */
typedef struct WatchLink
{
	Talk		talk;
	WatchStep	step;
	uint64		deadline;
	uint64		retry_at;
	int			pause;
	/* of the call under way: when it was sent, and what it stated */
	uint64		asked_at;
	uint64		asked_term;
	uint32		asked_lease;
	/* what the peer has told on this connection */
	uint64		term;
	char		state[32];
	uint64		led_term;
	StreamPos	applied;
	TimestampTz applied_at;
	char		error[BATON_ERROR_LEN];
	char		failure[BATON_ERROR_LEN];	/* of the connection itself, "" none */
} WatchLink;

typedef struct Link
{
	Shipper    *ship;
	uint16		id;				/* 0: unused */
	bool		detached;
	uint64		incarnation;	/* of the node that is meant, 0 not known */
	TimestampTz asked_at;		/* the last handshake of the data connection was sent */
	char		name[BATON_NAME_LEN];
	char		conninfo[BATON_CONNINFO_LEN];

	LinkStep	step;
	Talk		talk;
	uint64		deadline;		/* of CONNECT and the steps to OPEN */
	uint64		retry_at;
	int			pause;			/* ms, the next one */
	uint64		term;			/* led when hands were shaken, 0 messages only */
	bool		prepared;		/* the connection has its prepared statements */
	uint64		used_at;		/* frames or messages last sent */
	uint64		outbox_since;	/* messages wait since then, 0 none */
	bool		watched;		/* the peer waits in baton_rpc.watch() here */
	bool		dirty;			/* something to publish */
	uint64		wake_at;		/* next time something is due, set by link_turn() */
	char		error[BATON_ERROR_LEN];
	char		logged[BATON_ERROR_LEN];	/* the error that the server log has */
	LinkSearch	search;
	uint64		told_version;	/* membership told in this session, 0 none */
	bool		told_committed;
	uint64		leaving_until;	/* the member was removed, and is told so until then; 0 not */
	bool		gone;			/* to be dropped */

	/* OPEN */
	StreamReader reader;
	StreamBuf	batch;
	StreamPos	sent;
	StreamPos	told;			/* how far our log is flushed, as told with the last append */
	uint64		tell_at;		/* if less than was sent: when to tell more */
	StreamPos	flushed;
	StreamPos	applied;
	TimestampTz last_reply;
	Call		calls[LINK_MAX_CALLS];	/* ring */
	int			first_call;
	int			n_calls;
	size_t		bytes_under_way;
	uint64		beat_at;		/* next sign of life without frames */

	/* the latest sign of life that was answered with a promise, see PeerShared */
	uint64		heard_term;
	uint64		heard_sent;
	uint32		heard_lease;
	uint64		heard_told;		/* ... that the coordinator was woken for */

	WatchLink	watch;
} Link;

struct Shipper
{
	NodeShared *node;
	MemoryContext context;
	ShipView	view;
	uint64		watch_until;	/* no longer primary: watch the others until then, ms */
	uint64		unreached_since;	/* no primary has a connection to here since, ms; 0: one has, or this
									 * node leads or takes no part */
	uint64		told_term;		/* higher term that the coordinator was told of ... */
	uint64		told_at;		/* ... and when */
	Membership	membership;
	char	   *membership_bytes;	/* the same, encoded */
	size_t		membership_len;
	uint64		membership_turn;	/* of the node, when it was taken over */
	bool		membership_committed;
	Membership	before;			/* not committed: what is in force beside it */
	char	   *before_bytes;
	size_t		before_len;
	char		group_id[16];
	uint64		incarnation;
	char	   *collation;		/* of the own database, for handshakes */
	LagHistory	lag;
	WaitEventSet *set;
	uint64		stop_at;		/* SIGTERM came: end at the latest then, 0 not */
	Link		links[CONSENSUS_MAX_MEMBERS];
};

/* link.c */
extern void link_init(Link *link, Shipper *ship, const Member *member);
extern void link_turn(Link *link);	/* timers and whatever can be sent; sets wake_at */
extern void link_ready(Link *link); /* its socket is ready: talk.ready */
extern void link_close(Link *link, const char *why);
extern void link_fail(Link *link, int pause, const char *fmt,...) pg_attribute_printf(3, 4);
extern void link_publish(Link *link);
extern void link_handshake_params(const Link *link, uint64 term, TalkParams *p);
extern const char *const link_handshake_sql;
/* columns of its answer, behind those of the log */
#define HANDSHAKE_LED_TERM	9
#define HANDSHAKE_CLOCK		10
#define HANDSHAKE_MEMBERS	11
extern bool link_handshake_accepted(Link *link, const PGresult *r, bool leads, char *why, size_t size);
extern void link_met_primary(Link *link, uint64 led_term);
/* The peer has promised to respect a lease that was asked for at sent_at, in term. */
extern void link_heard(Link *link, uint64 term, uint64 sent_at, uint32 lease);
/* The peer knows of `term`; led_term: the one it leads itself, 0 none. */
extern void link_saw_term(Link *link, uint64 term, uint64 led_term);
/* No answer for this long, in ms: the connection is given up. */
extern int	link_answer_timeout(void);

/* ack_publish.c */
extern void ack_publish(Shipper *ship);

/* link_sync.c */
extern void link_sync_begin(Link *link);
extern void link_sync_answer(Link *link);

/* link_stream.c */
extern void link_stream_begin(Link *link);
extern void link_stream_turn(Link *link);
extern void link_stream_read(Link *link);
extern void link_stream_reset(Link *link);
extern bool link_stream_call(Link *link, const char *statement, const TalkParams *p);
extern void link_note_call(Link *link, CallKind kind, StreamPos end, size_t bytes);
extern bool link_stream_flush(Link *link);
#define MEMBERS_STATEMENT	"baton_members"

/* link_members.c */
extern bool link_members_due(const Link *link);
extern bool link_tell_members(Link *link);
extern void link_leave(Link *link);
extern void link_turn_leaving(Link *link);

/* watch_link.c */
extern void watch_turn(Link *link);
extern void watch_ready(Link *link);
extern void watch_close(Link *link);

/* Keep the earliest of the times at which something is due. */
static inline void
link_due(Link *link, uint64 at)
{
	if (at < link->wake_at)
		link->wake_at = at;
}

/*
 * The peer says it has applied up to pos.  Answers of two connections may cross,
 * so the place only rises; and what lies beyond the frames it got from here is of
 * a log that was cut since.
 */
static inline void
link_note_applied(Link *link, StreamPos pos)
{
	if (link->step == STEP_OPEN && link->term != 0 && pos > link->sent)
		pos = link->sent;
	if (pos > link->applied)
		link->applied = pos;
}

/* Is this the link of a leading node to a member that takes its stream? */
static inline bool
link_leads(const Link *link)
{
	return link->ship->view.primary && !link->detached;
}

#endif							/* BATON_LINK_H */
