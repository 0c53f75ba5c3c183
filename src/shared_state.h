/*
 * shared_state.h - baton's shared memory: one NodeShared per database that is
 * a node, found by database oid.
 *
 * Each group of fields names its writer and its lock.  Workers publish here and
 * wake each other with node_wake(); nobody waits for another by polling.
 */
#ifndef BATON_SHARED_STATE_H
#define BATON_SHARED_STATE_H

#include "postgres.h"

#include "capture/ack_map.h"
#include "control/control.h"
#include "access/xlogdefs.h"
#include "copy/copy_shared.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "reconcile/reconcile_shared.h"
#include "ship/fresh.h"
#include "stream/log.h"
#include "stream/record.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

typedef enum NodeState			/* what baton.status shows */
{
	NODE_DOWN = 0,				/* coordinator not (yet) running, or control file damaged */
	NODE_UNKNOWN,
	NODE_PRIMARY,
	NODE_REPLICA,
	NODE_DETACHED,
	NODE_COPYING
} NodeState;

/*
 * The gate.  Written by the coordinator only.
 *
 *   CLOSED  every client transaction is read-only; commits with an xid are refused
 *   OPEN    all may write
 *   DRAIN   a failover begins: new writers wait in the hooks, transactions that
 *           hold an xid, are marked as writers or hold more than ACCESS SHARE
 *           locks go on to their end
 *   HELD    whoever wants to write or commit waits (nothing fails) until the
 *           gate is OPEN again or CLOSED for good
 */
typedef enum GateState
{
	GATE_CLOSED = 0,
	GATE_OPEN,
	GATE_DRAIN,
	GATE_HELD
} GateState;

typedef enum WorkerKind
{
	WORKER_COORDINATOR = 0,
	WORKER_CAPTURE,
	WORKER_SHIPPER,
	WORKER_APPLIER,
	WORKER_COPY,
	WORKER_NOTIFIER,
	WORKER_RECONCILE,
	WORKER_FETCH,
	WORKER_INDEX_BUILDER,
	WORKER_KINDS
} WorkerKind;

/* Is this node's name to be in synchronous_standby_names? */
typedef enum SyncName
{
	SYNC_NAME_UNDECIDED = 0,	/* its coordinator has not come that far: as it is */
	SYNC_NAME_OUT,
	SYNC_NAME_IN
} SyncName;

typedef enum LinkState			/* primary's view of its connection to a replica */
{
	LINK_OFF = 0,
	LINK_CONNECTING,
	LINK_SYNCING,				/* handshake, looking for the last common frame */
	LINK_STREAMING,
	LINK_FAILED					/* will be tried again, see error */
} LinkState;

/*
 * A node's directory gets its name when its control file is in it, and loses it
 * when the node leaves; with one of these behind its name it is nobody's, and is
 * removed at the next start.
 */
#define NODE_DIRECTORY_NEW	".new"
#define NODE_DIRECTORY_LEFT	".left"

#define BATON_ERROR_LEN		512
#define BATON_OUTBOX_SIZE	16
#define BATON_INBOX_SIZE	64

/* A peer as this node sees it.  Index = index in node->membership.members. */
typedef struct PeerShared
{
	uint16		id;				/* member id, 0: slot unused */

	/* shipper writes, peer_lock */
	LinkState	link;
	StreamPos	sent;			/* handed to the socket */
	StreamPos	written;
	StreamPos	flushed;
	StreamPos	applied;
	uint64		stream_term;	/* term led in the session that `flushed` comes from */
	uint64		term;			/* peer's term as last reported */
	NodeState	state;			/* peer's state as last reported */
	uint64		led_term;		/* term whose TERM record the peer, as primary, has flushed; 0 none */
	TimestampTz last_reply;		/* 0 never */
	uint64		heard_term;		/* term led when ... */
	uint64		heard_sent;		/* ... the latest sign of life that it has answered with its
								 * promise was sent, boot_ms() */
	uint32		heard_lease;	/* the lease that was stated in it */
	TimestampTz flush_waits_since;	/* since when it lacks something that is flushed here; 0 nothing */
	TimestampTz apply_waits_since;	/* the same for what it has applied */
	TimestampTz applied_at;		/* commit time of the last transaction it has applied, 0 unknown */
	char		error[BATON_ERROR_LEN];	/* last error, "" none */
	char		apply_error[BATON_ERROR_LEN];	/* peer's apply error as last reported, "" none */

	uint32		collation_noted;	/* how it sorts differently, as noted; 0 not */
	uint64		met_term;		/* that it led below ours when they met, as noted; 0 none */
	ConsensusPlace mark;		/* the last place it has acknowledged, as the control file has it, 0
								 * none; coordinator writes */

	bool		knocked;		/* it has sent us a message, so it is there: connect without a
								 * pause; spinlock */

	/* messages to this peer, oldest first; spinlock `mutex` of the node */
	int			outbox_len;
	ConsensusMessage outbox[BATON_OUTBOX_SIZE];
	int			watchers;		/* backends of this peer that wait in baton_rpc.watch() */
} PeerShared;

/* ---- commands from SQL sessions to the coordinator ---- */

typedef enum CommandKind
{
	COMMAND_NONE = 0,
	COMMAND_FAILOVER,
	COMMAND_PROMOTE,
	COMMAND_START,
	COMMAND_STOP,
	COMMAND_LEAVE,
	COMMAND_ADD_MEMBER,			/* from baton_rpc.add_member, on the primary */
	COMMAND_CHANGE_MEMBER,		/* priority, type, flags, conninfo */
	COMMAND_REMOVE_MEMBER,
	COMMAND_SET_RULE,			/* rule and, in `target`, the designated member */
	COMMAND_SET_PAUSED,			/* `force`: the new value */
	COMMAND_SET_ACK_POLICY,
	COMMAND_REJOIN				/* `force`: whatever is lost */
} CommandKind;

typedef enum FailoverAfter
{
	AFTER_SHUTDOWN = 0,
	AFTER_REJOIN,
	AFTER_STOP_SERVER
} FailoverAfter;

/*
 * Are rows missing from this node's tables, because they were rolled back and their
 * other versions are still to come?  Readers wait meanwhile (api/policy.c).
 */
typedef enum Mending
{
	MENDING_NOT = 0,
	MENDING_ROWS_OUT,
	MENDING_NOT_KNOWN			/* the server has just started, and the control file is not read yet */
} Mending;

#define BATON_MAX_STEPS 8

typedef struct CommandStep
{
	char		name[32];		/* "stop clients", "flush", ... */
	char		detail[160];
	int64		usec;			/* how long it took */
	bool		failed;
} CommandStep;

typedef struct CommandShared	/* node->command; lock: command_lock */
{
	uint64		id;				/* rises with each command */
	CommandKind kind;
	bool		done;
	bool		cancel;			/* the session has gone, or was cancelled: give up if possible */
	bool		success;
	int			sqlerrcode;		/* if it failed */
	char		message[BATON_ERROR_LEN];
	char		detail[BATON_ERROR_LEN];
	char		hint[BATON_ERROR_LEN];
	int			caller_pid;		/* backend that waits, ended last */
	int			n_steps;
	CommandStep steps[BATON_MAX_STEPS];
	/* arguments */
	uint16		target;			/* member id, 0 any */
	FailoverAfter after;
	bool		force;
	uint8		rule;			/* ConsensusRule */
	int64		timeout_ms;
	int64		drain_timeout_ms;
	Member		member;			/* ADD_MEMBER, CHANGE_MEMBER */
	uint8		ack_policy;		/* SET_ACK_POLICY */
} CommandShared;

/* ---- a membership that this node has heard of ---- */

typedef struct MembershipOffer	/* node->offered; lock: state_lock */
{
	uint64		id;				/* rises with each offer */
	uint64		taken;			/* the latest that the coordinator has dealt with */
	bool		waiting;		/* for the coordinator */
	uint64		term;			/* told by the primary of this term, in order; 0: seen elsewhere */
	bool		committed;		/* told: it is; else `before` is in force beside it */
	Membership	membership;
	Membership	before;
} MembershipOffer;

/* Notes for baton.events from processes that are not the coordinator. */
#define BATON_MAX_NOTES	8

typedef struct NodeNote
{
	char		kind[32];
	char		detail[BATON_ERROR_LEN];
} NodeNote;

/* ---- what baton.on_role_change is to be told ---- */

#define BATON_ROLE_CHANGES 16

typedef struct RoleChange
{
	NodeState	from;
	NodeState	to;
	uint16		leader;			/* member that leads, 0 unknown */
	uint64		term;
} RoleChange;

/* ---- one node ---- */

typedef struct NodeShared
{
	/* set once, under shared->lock */
	Oid			dboid;			/* InvalidOid: slot unused */
	char		dbname[NAMEDATALEN];
	char		directory[MAXPGPATH];	/* <data directory>/baton/<dboid> */
	uint64		generation;		/* differs each time the slot is taken */
	bool		established;	/* the control file is there: the launcher may start a coordinator */

	/* ---- identity and role: coordinator writes, state_lock ---- */
	LWLock		state_lock;
	char		group_name[BATON_NAME_LEN];
	uint8		group_id[16];
	uint16		self;
	uint64		incarnation;
	uint8		ddl_key[DDL_KEY_LEN];
	Membership	membership;
	bool		membership_committed;
	Membership	membership_before;	/* not committed: what is in force beside it */
	ConsensusPlace was_at;		/* the log has been there, before a copy or a cut */
	uint64		membership_turn;	/* rises each time the above are published */
	MembershipOffer offered;
	NodeState	state;
	uint64		term;			/* durable term */
	uint16		leader;			/* member that leads it, 0 unknown */
	char		reason[BATON_REASON_LEN];	/* why detached, down, unknown */
	NodeIntent	intent;
	uint64		lead_term;		/* PRIMARY: the own term once its TERM record is flushed, else 0 */
	StreamPos	lead_start;		/* PRIMARY: end of that TERM record's frame */
	ConditionVariable state_cv;	/* broadcast after each change of the above */

	/* ---- gate: coordinator writes ---- */
	pg_atomic_uint32 gate;		/* GateState */
	pg_atomic_uint64 lease_until;	/* boot_ms() up to which commits count; LEASE_UNLIMITED: always;
									 * looked at before each commit and after it */
	pg_atomic_uint32 lease_ms;	/* lease that this node asks for in each sign of life, 0 none */
	pg_atomic_uint64 gate_closings; /* how often it has been closed */
	ConditionVariable gate_cv;	/* broadcast at each change */
	pg_atomic_uint32 door_closed;	/* 1: ordinary roles may not connect (detached after failover) */
	char		session_token[40];	/* copy's restore sessions show it; "" none. state_lock */

	/* ---- stream log: log_lock (exclusive to append, cut, vote) ---- */
	LWLock		log_lock;
	StreamTail	tail;
	uint64		append_term;	/* only frames of this term may be appended; the voter raises
								 * it under log_lock together with reading tail.end */
	bool		log_ready;		/* tail is valid */
	uint16		fetch_from;		/* UNKNOWN: frames of this member may be appended, whatever their
								 * term; 0 none */
	StreamPos	share_floor;	/* as in ControlData; coordinator writes */
	StreamPos	ship_hold;		/* frames from here on are not shipped yet: a change of members
								 * among them is not published; 0 none */
	StreamPos	ship_ahead;		/* frames before it are shipped, flushed or not; see shared_log.c */
	StreamPos	apply_to;		/* frames before it are flushed at the primary that they come from, and
								 * may be applied */
	StreamPos	apply_told;		/* ... as far as the applier was woken for them */
	uint64		source_lsn;		/* own commits up to here lie in the log (capture, recovery, or a
								 * receiver: see shared_log.c) */
	uint64		flushed_source_lsn; /* ... and in its part before tail.flushed */
	int			receiver_pid;	/* backend that may append, 0 none */
	char		log_error[BATON_ERROR_LEN];	/* "" or why the log is not used any more */

	/* ---- capture: capture writes, spinlock ---- */
	uint64		capture_term;	/* coordinator sets: append own commits in this term; 0: none */
	XLogRecPtr	captured_lsn;	/* every own commit before it is flushed in the log or filtered */
	StreamPos	oldest_open;	/* frame of the oldest transaction open in the stream, 0 none */
	XLogRecPtr	diverged_lsn;	/* an own commit seen while not primary, 0 none */
	XLogRecPtr	capture_notify_lsn; /* coordinator sets: wake me when captured_lsn gets here; 0 not */
	ConditionVariable captured_cv;	/* broadcast when captured_lsn moves */
	char		capture_error[BATON_ERROR_LEN];

	/* ---- the initial copy's place: coordinator writes before the applier starts ----
	 * commits of copy_source in copy_term that begin before copy_lsn are in the tables */
	uint16		copy_source;
	uint64		copy_term;
	XLogRecPtr	copy_lsn;
	uint64		own_floor;		/* capture never raises own commits up to here */
	uint64		sequence_floor;	/* sequences' states before it come from another's reign */
	uint64		handed_term;	/* own term that was handed over by its predecessor; spinlock */

	/* ---- exact states of sequences, see capture/sequence_publish.c ---- */
	pg_atomic_uint64 sequence_uses;	/* sessions: how often transactions began or ended to use nextval() */
	pg_atomic_uint32 sequences_all;	/* rises when all states are to be told anew */
	uint64		sequences_asked;	/* position(): rises with each request; spinlock */
	uint64		sequences_served;	/* coordinator: requests that are served; spinlock */
	XLogRecPtr	sequences_lsn;	/* coordinator: when the WAL had come so far, and sequence_uses ... */
	uint64		sequences_uses;	/* ... stood at this, all states were in it; spinlock */
	ConditionVariable sequences_cv; /* broadcast when sequences_served moves */

	/* ---- roles that sessions change, see capture/roles.c ---- */
	pg_atomic_uint32 roles_changed; /* rises behind each commit that the stream does not show */
	pg_atomic_uint32 roles_logged;	/* the same of those that it shows */
	pg_atomic_uint32 roles_told;	/* coordinator: roles_changed up to which all is in the stream */

	pg_atomic_uint32 apply_blocked; /* coordinator: 1 while apply waits for locks of sessions */

	/* ---- indexes that are built beside apply, see apply/index_work.c ---- */
	pg_atomic_uint32 index_work_asked; /* rises behind each commit that leaves some to the builder */
	pg_atomic_uint32 index_work_unique;	/* builder, applier: 1 while unique ones are among it */
	pg_atomic_uint32 index_work_done;	/* builder: index_work_asked up to which all is done */

	char		slot_name[NAMEDATALEN];	/* capture's slot, "" until it is made */
	char		copy_conninfo[BATON_CONNINFO_LEN];	/* where to take it from; coordinator, state_lock */
	CopyShared	copy;			/* progress and requests of the copy worker, spinlock */

	/* ---- applier: applier writes, spinlock ---- */
	bool		arbiter;		/* coordinator sets: there are no tables, what is flushed counts as
								 * applied */
	bool		applier_running;
	StreamPos	applied;		/* all before it is in the tables, and visible */
	StreamPos	apply_keep;		/* frames from here on may be needed by a restarted applier */
	TimestampTz applied_commit_time;	/* of the last applied commit, 0 none */
	uint64		applied_txns;
	uint64		applied_rows;
	char		apply_error[BATON_ERROR_LEN];	/* "" or why it has stopped, with table and key */
	/* FAILOVER record that names this node and whose predecessors are all applied */
	bool		failover_seen;
	RecordFailover failover;
	uint16		failover_from;	/* TERM_MEMBER(failover.term) */
	StreamPos	apply_notify;	/* coordinator sets: wake me when applied gets here; 0 not */
	ConditionVariable applied_cv;	/* broadcast when applied moves or apply_error changes */

	/* ---- peers ---- */
	LWLock		peer_lock;
	ConditionVariable watch_cv; /* broadcast when anything that baton_rpc.watch() reports
								 * has changed: state, term, an outbox, and applied if ... */
	pg_atomic_uint32 watch_applied; /* ... 1: somebody waits for applied to move on; the
									 * applier takes it back as it broadcasts */
	bool		peer_notify;	/* coordinator sets (spinlock): wake me at each change of a peer */
	PeerShared	peers[CONSENSUS_MAX_MEMBERS];

	/* ---- heard from the primary: receiver writes, spinlock ---- */
	FreshHistory fresh;			/* where its log ended, and when */
	uint64		heard_term;
	uint16		heard_leader;
	uint32		heard_lease;	/* that it has stated, 0 none */
	uint64		heard_at;		/* boot_ms(), 0 never */

	/*
	 * The promise given to that primary, and the longest lease that the control file
	 * covers.  Receivers give it with log_lock held (shared) and append_term checked,
	 * and only if its lease is no longer than promise_ms: a vote, which is given with
	 * log_lock held exclusively, sees it or comes before it.  Spinlock.
	 */
	ConsensusPromise promise;
	uint32		promise_ms;		/* coordinator writes, after the control file */
	uint32		promise_asked;	/* receiver: a lease longer than that was stated; 0 none */

	/* ---- commitment, for the current term; spinlock ----
	 * On the primary the shipper computes it from what voters have flushed; a replica
	 * has it from the primary.  Frames before `committed` are on a majority's disks. */
	uint64		committed_term;
	StreamPos	committed;
	StreamPos	committed_notify;	/* coordinator sets: wake me when committed gets here; 0 not */
	ConditionVariable committed_cv; /* broadcast when it moves */

	/* ---- acknowledged places of the stream: shipper writes, spinlock ----
	 * What the ack policy asks for has them, in the reign of ack_term; 0 none. */
	uint64		ack_term;
	StreamPos	ack_write;
	StreamPos	ack_flush;
	StreamPos	ack_apply;
	uint64		ack_version;	/* the membership that they are counted by */

	/* ---- from the one to the other: capture and shipper, ack_lock ---- */
	LWLock		ack_lock;
	Acked		acked;

	/* ---- acknowledged own commits: capture and shipper write, ack_lock and spinlock ----
	 * WAL positions: what the group's ack_policy asks for is met for own commits that
	 * end at or before them. */
	XLogRecPtr	acked_write;
	XLogRecPtr	acked_flush;
	XLogRecPtr	acked_apply;

	/* ---- the ack policy and synchronous_standby_names: coordinator writes ---- */
	pg_atomic_uint32 ack_policy;	/* AckPolicy in force: capture answers by it */
	pg_atomic_uint32 ack_enforced;	/* 1: PostgreSQL makes commits wait, so one that comes
									 * back unacknowledged was cancelled */
	pg_atomic_uint64 apply_asked;	/* sessions write: boot_ms() of the last commit under
									 * synchronous_commit = remote_apply */
	SyncName	sync_name;		/* baton_shared->lock */
	char		ack_trouble[BATON_REASON_LEN];	/* "" or why the policy has no effect here; state_lock */

	char		sync_error[BATON_REASON_LEN];	/* "" or why this log cannot follow the primary's:
												 * the coordinator detaches the node for it */

	/* ---- a cut of the log: receiver asks, coordinator allows; spinlock ----
	 * Before the receiver cuts the log at cut_pos, the coordinator lowers the control
	 * file's marks to it (known_flushed would make the cut look like damage after a
	 * crash), sets cut_allowed = cut_asked and broadcasts state_cv. */
	uint64		cut_asked;		/* rises with each request */
	uint64		cut_allowed;
	StreamPos	cut_pos;

	pg_atomic_uint32 mending;	/* Mending: coordinator writes; readers of tables look at it */
	ReconcileShared reconcile;	/* commits that the elected stream has not; spinlock */

	/* ---- messages for the coordinator: spinlock ---- */
	int			inbox_len;
	ConsensusMessage inbox[BATON_INBOX_SIZE];

	/* ---- notes for the coordinator: spinlock ---- */
	int			n_notes;
	NodeNote	notes[BATON_MAX_NOTES];

	/* ---- changes of state for the notifier, oldest first: spinlock ---- */
	int			n_role_changes;
	bool		role_command_runs;	/* notifier: the command for one that it has taken is running */
	RoleChange	role_changes[BATON_ROLE_CHANGES];

	/* ---- commands ---- */
	LWLock		command_lock;
	CommandShared command;
	ConditionVariable command_cv;	/* broadcast at each step and at the end */

	/* ---- workers: spinlock ---- */
	pid_t		worker_pid[WORKER_KINDS];
	Latch	   *worker_latch[WORKER_KINDS];	/* NULL: not running */
	bool		worker_told[WORKER_KINDS];	/* coordinator: it is to end even if the server stops */

	slock_t		mutex;			/* the spinlock named above */
} NodeShared;

typedef struct BatonShared
{
	LWLock		lock;			/* node slots */
	pid_t		launcher_pid;
	Latch	   *launcher_latch;	/* under mutex */
	slock_t		mutex;
	int			tranche;		/* of all LWLocks here */
	int			max_nodes;
	uint64		generation;		/* of the slot taken last; under lock */
	pg_atomic_uint32 roles_changing;	/* sessions that are about to commit changes of roles */
	NodeShared	nodes[FLEXIBLE_ARRAY_MEMBER];
} BatonShared;

/* milliseconds on CLOCK_BOOTTIME, which goes on while the machine sleeps */
extern uint64 boot_ms(void);

extern BatonShared *baton_shared;	/* NULL if not preloaded */

/* Called by _PG_init. */
extern void shared_state_init(void);

/* The node of a database (or NULL).  node_mine(): of MyDatabaseId. */
extern NodeShared *node_find(Oid dboid);
extern NodeShared *node_find_name(const char *dbname);
extern NodeShared *node_mine(void);
/* As node_mine, but raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE with a hint if there is none. */
extern NodeShared *node_mine_or_error(void);
/* Take a free slot for a database: raises ERRCODE_CONFIGURATION_LIMIT_EXCEEDED. */
extern NodeShared *node_slot_acquire(Oid dboid, const char *dbname, GateState gate);
extern void node_slot_release(NodeShared *node);

/*
 * Worker registration: sets pid and latch, and clears them at exit (before_shmem_exit).
 * Only one coordinator can be registered: false for a second one.
 */
extern bool node_worker_attach(NodeShared *node, WorkerKind kind);
extern void node_wake(NodeShared *node, WorkerKind kind);
extern void launcher_wake(void);
/* Does a session's command wait for an answer? */
extern bool node_command_waits(NodeShared *node);

/*
 * The stream log, shared.  Called without locks held.
 *
 * node_log_append: seal nothing, only append whole frames made by the caller.
 * Used through these two:
 *
 *   node_log_seal_append(node, w, codec, term, records, ..., ahead, ...): takes log_lock,
 *     checks that append_term == term (else returns STREAM_MISMATCH), seals the
 *     records into one frame that continues the log, appends it.  *end gets the
 *     frame's end.  For capture and for the coordinator's own records.
 *   node_log_append_frames(node, w, term, frames, len, flushed): the same for a
 *     receiver's ready frames.  flushed: how far the primary says that its own log is.
 *   node_log_told(node, term, flushed): the primary of `term` says so without frames.
 *   node_log_has_own(node, frames, len): frames are appended by other means; own commits
 *     among them lie in the log.  The caller holds log_lock.
 *
 *   node_log_flush(node, w, own): flush all that is written, raise tail.flushed, wake
 *     the applier and, if the frames are this node's own, the shipper.
 */
extern StreamCode node_log_seal_append(NodeShared *node, StreamWriter *w, FrameCodec *codec,
									   uint64 term, uint64 source_lsn, uint32 n_commits,
									   const char *records, uint32 len, bool ahead,
									   StreamPos *end, StreamError *err);
extern StreamCode node_log_append_frames(NodeShared *node, StreamWriter *w, uint64 term,
										 const char *frames, size_t len, StreamPos flushed,
										 StreamError *err);
extern void node_log_told(NodeShared *node, uint64 term, StreamPos flushed);
extern void node_log_has_own(NodeShared *node, const char *frames, size_t len);
extern StreamCode node_log_flush(NodeShared *node, StreamWriter *w, bool own, StreamError *err);
/* A consistent copy of the tail; the other one's `flushed` is what may be applied of it. */
extern StreamTail node_log_tail(NodeShared *node);
extern StreamTail node_log_tail_to_apply(NodeShared *node);
extern void node_log_directory(NodeShared *node, char *out, size_t size);	/* <directory>/stream */

/* Messages.  node_post: into the inbox, wakes the coordinator; node_send: into the
 * peer's outbox, wakes the shipper and the peer's watchers.  A full queue drops the
 * oldest: every request is repeated by its sender. */
extern void node_post(NodeShared *node, const ConsensusMessage *m);
extern void node_send(NodeShared *node, const ConsensusMessage *m);
/* Have the coordinator note an event; too many at once are left out. */
extern void node_note(NodeShared *node, const char *kind, const char *fmt,...) pg_attribute_printf(3, 4);
/* Two primaries have met, and this one's term is the higher: noted once for each. */
extern void node_met_primary(NodeShared *node, uint16 id, uint64 led_term, uint64 own_term);
/* Take all messages for a peer out of its outbox; returns how many. */
extern int	node_take_outbox(NodeShared *node, uint16 peer, ConsensusMessage *out, int max);
/* A membership was seen, by handshake or in the stream: a newer one is adopted by the
 * coordinator. */
extern void node_offer_membership(NodeShared *node, const Membership *m);
/* The primary of `term` tells its membership, and what is in force beside it (NULL:
 * it is committed).  Returns the offer's id: done when offered.taken has reached it. */
extern uint64 node_tell_membership(NodeShared *node, uint64 term, const Membership *m,
								   const Membership *before);
extern PeerShared *node_peer(NodeShared *node, uint16 id);
/* Does somebody wait for what replicas apply: the coordinator, or a recent commit under
 * remote_apply? */
extern bool node_apply_wanted(NodeShared *node);

extern const char *node_state_name(NodeState state);
extern bool node_state_parse(const char *name, NodeState *state);
extern const char *link_state_name(LinkState link);
extern const char *gate_state_name(GateState gate);

#endif							/* BATON_SHARED_STATE_H */
