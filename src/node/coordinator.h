/*
 * coordinator.h - the coordinator's state and the parts it is made of.  Private
 * to node/ and failover/: everybody else sees what it publishes in NodeShared.
 */
#ifndef BATON_COORDINATOR_H
#define BATON_COORDINATOR_H

#include "baton.h"

#include "capture/roles.h"
#include "capture/sequence.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"

/* ---- a planned failover as the old primary runs it; see failover/command.c ---- */

typedef enum FailoverPhase
{
	PHASE_IDLE = 0,
	PHASE_FIND_TARGET,
	PHASE_STOP_CLIENTS,
	PHASE_FLUSH,
	PHASE_COMMAND,
	PHASE_ACKNOWLEDGE,
	PHASE_STOP_REPLICATION,
	PHASE_SHUT_DOWN
} FailoverPhase;

typedef struct FailoverRun
{
	FailoverPhase phase;
	uint64		attempt;
	uint16		target;
	char		target_name[BATON_NAME_LEN];
	FailoverAfter after;
	uint64		find_until;		/* ms: then a target out of reach is refused */
	uint64		drain_until;	/* ms: then running transactions are terminated */
	uint64		deadline;		/* ms: then the attempt is void */
	instr_time	step_start;
	bool		draining;		/* the target is near: the gate is DRAIN or HELD */
	bool		held;			/* gate is HELD, barrier not yet passed */
	uint64		terminate_again;	/* ms: not before */
	int			terminated;		/* running transactions that were ended */
	XLogRecPtr	flush_lsn;		/* WAL up to here must be in the stream */
	StreamPos	end;			/* end of the FAILOVER frame */
	uint64		new_term;		/* granted: the target's term */
	uint64		vote_usec;		/* how long the vote took to reach the disk */
	bool		sessions_ended;
	uint64		confirm_until;	/* ms: how long the target's TERM record is waited for */
	uint64		stop_server_at; /* ms: stop the server then, 0 not */
} FailoverRun;

/* ---- the server stops; see shutdown.c ---- */

typedef enum ShutdownPhase
{
	SHUTDOWN_NOT = 0,
	SHUTDOWN_COMMAND,			/* a failover under way comes to its end */
	SHUTDOWN_HAND_OVER,
	SHUTDOWN_SHIP,
	SHUTDOWN_DONE
} ShutdownPhase;

typedef struct ShutdownRun
{
	ShutdownPhase phase;
	uint64		deadline;		/* ms: then the coordinator ends, come what may */
	bool		tell;			/* baton.on_role_change is waited for */
	XLogRecPtr	end;			/* SHIP: WAL up to here must be in the stream; 0 clients still commit */
} ShutdownRun;

/* ---- the coordinator ---- */

typedef struct WorkerSlot
{
	BackgroundWorkerHandle *handle; /* NULL: not started */
	bool		wanted;
	uint64		restart_at;		/* ms: not started before */
	bool		complained;		/* no free worker slot has been logged */
} WorkerSlot;

/* A change of members that a session waits for; see change.c */
typedef struct MemberChange
{
	uint64		until;			/* ms: the session's patience */
	uint64		version;		/* of the membership that carries it, 0 not in force yet */
	bool		again;			/* a designation moves: the second step follows */
	char		kind[32];
	char		note[BATON_ERROR_LEN];
} MemberChange;

#define COORDINATOR_MAX_EVENTS 64

typedef struct PendingEvent
{
	TimestampTz at;
	uint64		term;
	char		kind[32];
	char		detail[BATON_ERROR_LEN];
} PendingEvent;

/* What sessions have been told that hold a lock which apply waits for, see make_way.c. */
typedef enum ApplyWay
{
	WAY_WAITS = 0,				/* nothing yet */
	WAY_CANCELLED,
	WAY_ENDED
} ApplyWay;

typedef struct Coordinator
{
	NodeShared *node;
	SequencePublisher *sequences;
	RolePublisher *roles;
	ControlData control;
	Consensus	consensus;
	bool		running;		/* consensus takes part (not stopped, detached, copying) */
	bool		down;			/* control file or log unusable: nothing runs */
	StreamWriter writer;
	FrameCodec	codec;
	WorkerSlot	workers[WORKER_KINDS];
	FailoverRun failover;
	ShutdownRun shutdown;
	uint64		command_id;		/* command being carried out, 0 none */
	MemberChange change;
	StreamPos	reign_start;	/* PRIMARY: end of the own TERM frame */
	StreamPos	membership_end; /* PRIMARY: end of the frame with the latest membership */
	char		copy_waits[BATON_REASON_LEN];	/* why a new copy is needed that cannot begin yet, "" none */
	uint64		preferred_retry;	/* ms: no hand-over to the preferred node before */
	bool		promoted;		/* a person asked for this node's reign: a pause ends */
	bool		alone;			/* ... by force, and this node is not ready for it, see alone.c ... */
	bool		alone_begun;	/* ... but gets so */
	char		alone_account[BATON_ERROR_LEN];	/* what a forced reign has made of diverged commits, "" none */
	bool		forced_reign;	/* PRIMARY by force: nobody else may be there to agree */
	uint64		told_term;		/* membership as the primary of that term has told it, 0 not */
	XLogRecPtr	own_end;		/* capture must have read the own WAL up to here before anything
								 * is applied: there may be commits that nobody else has; 0 no */
	StreamPos	term_end;		/* end of the own TERM frame while the gate waits for it, 0 none */
	uint64		apply_waits_since;	/* ms: apply waits for a lock, 0 not */
	ApplyWay	apply_way;		/* what has been done about that */
	uint64		next_tick;		/* ms: when consensus wants its EV_TICK */
	uint64		next_upkeep;	/* ms: marks, retention, slots */
	uint64		held_until;		/* ms: a gate that was found HELD is closed then */
	char		trouble[BATON_REASON_LEN];	/* shown as the reason where there is no other, "" none */
	uint64		sync_written_at;	/* ms: synchronous_standby_names was written, 0 not */
	uint64		sync_effect_at; /* ms: it makes all commits wait from then on, 0 not yet */
	uint64		sync_drop_at;	/* ms: it is taken out then, whoever waits; 0 not */
	char		ack_trouble[BATON_REASON_LEN];	/* why the ack policy has no effect here, "" none */
	bool		marks_failed;	/* the marks could not be written, and that was said */
	uint64		seen_heard_at;	/* last sign of life that consensus was told of */
	uint64		seen_heard_sent[CONSENSUS_MAX_MEMBERS];	/* by index in node->peers: latest answer
														 * that consensus was told of */
	uint64		lease_longer_at;	/* ms: a longer lease counts from then on, 0 none is to */
	char		lease_reason[BATON_REASON_LEN];	/* the lease was lost, and nobody leads since; or "" */
	bool		seen_failover;	/* FAILOVER_SEEN has been told */
	uint64		seen_attempt;
	uint32		upkeep_turn;
	uint64		followed_term;	/* the term in which it was last seen to that nothing prepared is left */
	XLogRecPtr	old_origins_lsn;	/* replication origins that are not in use go when capture is here; 0 none */
	char		reconcile_reason[BATON_REASON_LEN]; /* published last */
	uint16		noted_leader;	/* the primary that an event has named last, 0 none */
	uint64		events_retry_at;	/* ms: rows of baton.events are not written before */
	int			n_events;
	PendingEvent events[COORDINATOR_MAX_EVENTS];
	bool		released;		/* leave_group is done: exit for good */
} Coordinator;

/* coordinator.c */
extern void coordinator_save(Coordinator *c);	/* control file, durably; PANIC-free: FATAL on failure */
extern bool coordinator_save_marks(Coordinator *c); /* the same, false on failure */

/* update.c: consensus events in, everything they cause out */
extern void coordinator_event(Coordinator *c, ConsensusEvent *e);
extern void coordinator_init_consensus(Coordinator *c);
extern void coordinator_start_consensus(Coordinator *c);
extern void coordinator_stop_consensus(Coordinator *c);
extern void coordinator_open_gate_if_ready(Coordinator *c);

/* lease.c */
extern void coordinator_lease_length(Coordinator *c, uint64 now);
extern void coordinator_take_heard(Coordinator *c);
extern void coordinator_take_promise(Coordinator *c);
extern void coordinator_publish_promise(Coordinator *c);
extern void coordinator_publish_lease(Coordinator *c, uint64 lease_until);
extern void coordinator_lease_reason(Coordinator *c, const uint64 *heard, uint64 now, char *out, size_t size);

/* make_way.c: sessions that apply waits for */
extern void coordinator_make_way(Coordinator *c, uint64 now);

/* recovery.c */
extern void coordinator_recover(Coordinator *c);

/* publish.c */
extern void coordinator_publish(Coordinator *c);
extern void coordinator_publish_members(Coordinator *c);

/* workers.c */
extern void coordinator_supervise(Coordinator *c, uint64 now);
extern void coordinator_end_worker(Coordinator *c, WorkerKind kind);
extern void coordinator_await_worker(Coordinator *c, WorkerKind kind);
extern void coordinator_stop_worker(Coordinator *c, WorkerKind kind);
extern void coordinator_end_workers(Coordinator *c);
extern void coordinator_stop_workers(Coordinator *c);
extern void coordinator_stop_replicating(Coordinator *c);

/* upkeep.c */
extern bool coordinator_tells_sequences(Coordinator *c);
/* Bring roles and the states of sequences into the stream, and answer who waits for that;
 * urgent: roles, too, that were looked at a moment ago.  False: as sequences_publish(). */
extern bool coordinator_tell(Coordinator *c, bool urgent);
extern void coordinator_upkeep(Coordinator *c);
extern void coordinator_detach(Coordinator *c, const char *why);

/* renew.c */
extern void coordinator_cannot_follow(Coordinator *c, const char *why);
extern void coordinator_take_copy_wanted(Coordinator *c);

/* preferred.c */
extern bool membership_prefers_own_log(Coordinator *c);
extern void coordinator_lead_as_preferred(Coordinator *c);
extern void coordinator_hand_to_preferred(Coordinator *c, uint64 now);
extern void coordinator_end_pause(Coordinator *c);

/* marks.c */
extern bool coordinator_renew_peer_marks(Coordinator *c);
extern void coordinator_publish_peer_marks(Coordinator *c);
extern void coordinator_note_cut(Coordinator *c);

/* reconcile.c */
extern void coordinator_recover_reconcile(Coordinator *c);
extern void coordinator_take_reconcile(Coordinator *c);
extern bool coordinator_is_reconciling(Coordinator *c);
extern bool coordinator_reconcile_allows(Coordinator *c, WorkerKind kind);
extern char *coordinator_reconcile_reason(Coordinator *c);
extern void coordinator_forget_reconcile(Coordinator *c);
extern void coordinator_drop_old_origins(Coordinator *c);

extern void coordinator_stop_search(Coordinator *c);
extern void coordinator_mend_alone(Coordinator *c);
extern void coordinator_keep_diverged(Coordinator *c, bool unapplied);

/* alone.c */
extern void coordinator_begin_alone(Coordinator *c);
extern void coordinator_give_up_alone(Coordinator *c);
extern bool coordinator_is_ready_alone(Coordinator *c);
extern void coordinator_raise_share_floor(Coordinator *c, StreamPos term_end);
extern void coordinator_tell_alone(Coordinator *c, uint32 noted);

/* prepared.c */
extern void coordinator_roll_back_prepared(Coordinator *c);

/* membership.c */
extern bool coordinator_may_change_membership(Coordinator *c, const Membership *changed,
											  StreamPos *waits_for);
extern bool coordinator_change_membership(Coordinator *c, const Membership *changed);
extern void coordinator_commit_membership(Coordinator *c);
extern void coordinator_adopt_membership(Coordinator *c);
extern void coordinator_welcome_joined(Coordinator *c);
extern char *coordinator_missing_voters(Coordinator *c, StreamPos pos);
extern bool coordinator_is_arbiter(Coordinator *c);
extern void coordinator_reign_begins(Coordinator *c, StreamPos term_frame_end);

/* change.c */
extern bool change_is_command(CommandKind kind);
extern void change_begin(Coordinator *c);
extern void change_poll(Coordinator *c);

/* ack_policy.c */
extern void coordinator_follow_policy(Coordinator *c, uint64 now);
extern bool coordinator_policy_holds(Coordinator *c);
extern bool coordinator_policy_settled(Coordinator *c);
extern void coordinator_drop_sync_name(Coordinator *c);

/* commands.c */
extern void coordinator_commands(Coordinator *c);
extern void command_finish(Coordinator *c, bool success, int sqlerrcode, const char *message,
						   const char *detail, const char *hint);

/* failover/command.c */
extern void failover_start(Coordinator *c);
extern void failover_poll(Coordinator *c, uint64 now);
extern void failover_outcome(Coordinator *c, ConsensusOutcome outcome);
extern void failover_aborted_by_stepdown(Coordinator *c, const char *why);
extern void failover_by_itself(Coordinator *c, uint16 target, int64 timeout_ms, int64 drain_timeout_ms);
extern bool failover_at_shutdown(Coordinator *c, int64 timeout_ms);
extern bool failover_target_streams(Coordinator *c);

/* shutdown.c */
extern bool coordinator_may_end(Coordinator *c, uint64 now);

/* events.c */
extern void coordinator_note(Coordinator *c, const char *kind, const char *fmt,...) pg_attribute_printf(3, 4);
extern void coordinator_take_notes(Coordinator *c);
extern void coordinator_write_events(Coordinator *c);

#endif							/* BATON_COORDINATOR_H */
