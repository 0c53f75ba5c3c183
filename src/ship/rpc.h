/*
 * rpc.h - what the functions of schema baton_rpc share: who may call them, and
 * what a session with a peer remembers.
 *
 * A peer's session begins with baton_rpc.handshake(), which makes sure that both
 * sides mean the same group and the same members; append, sync_up, watch and
 * deliver are refused without it.  At most one session of a node is its receiver
 * (node->receiver_pid): a handshake of the primary takes that over.
 */
#ifndef BATON_RPC_H
#define BATON_RPC_H

#include "baton.h"

#include "access/tupdesc.h"
#include "fmgr.h"
#include "stream/log.h"

/* What status baton_rpc.append() answers with. */
typedef enum AppendStatus
{
	APPEND_OK = 0,
	APPEND_STALE_TERM = 1,		/* a higher term is known here, see `term` */
	APPEND_MISMATCH = 2,		/* does not continue this log, or not the receiver: shake hands again */
	APPEND_STOPPED = 3			/* the log is not in use here */
} AppendStatus;

/* The state of one session with a peer; zeroed: no handshake yet. */
typedef struct RpcSession
{
	NodeShared *node;
	uint16		peer;			/* member at the other end, 0 before the handshake */
	bool		watching;		/* counted in the peer's `watchers` */
	bool		exit_registered;
	uint64		woke_at;		/* coordinator last told of a sign of life, boot_ms() */
	StreamWriter writer;
	StreamReader reader;
	TupleDesc	append_desc;	/* result row of append, blessed */
} RpcSession;

extern RpcSession rpc_session;

/*
 * Every function of baton_rpc begins with this.  Returns the node of the
 * session's database.  Raises ERRCODE_INSUFFICIENT_PRIVILEGE unless the caller
 * is a superuser or has the REPLICATION attribute, and
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if baton is not preloaded or the
 * database is not a node.
 */
extern NodeShared *rpc_enter(void);

/* Only the check of the caller's role, for databases that need not be nodes. */
extern void rpc_require_peer_role(void);

/*
 * The same for functions that need a handshake in this session: raises
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if there was none with `from`.
 */
extern NodeShared *rpc_enter_peer(int from);

/* Ready the session's cleanup at exit; called by the handshake. */
extern void rpc_session_begin(NodeShared *node, uint16 peer);

/*
 * What native values depend on besides the server version: both sides of a
 * handshake must give the same text.
 */
extern const char *rpc_architecture(void);

/* A membership as bytea. */
extern Datum rpc_membership_datum(const Membership *m);

/* How the database sorts text, in one line, for a person to compare; palloc'd. */
extern char *rpc_collation(void);

/*
 * The primary of `term` is alive, and has stated a lease of that many ms (0: none).
 * Counts if that is the term and leader this node follows; the coordinator is woken
 * when it is new, and else twice per heartbeat at most.
 */
extern void rpc_heard(NodeShared *node, uint64 term, uint16 leader, uint32 lease_ms);

/* What every call of a primary says of itself. */
typedef struct RpcLead
{
	uint64		term;
	uint16		leader;
	uint32		lease_ms;		/* it asks for; 0: it has none itself, and this is no sign of life */
	StreamPos	committed;		/* end of what a majority of voters has in that term, 0 not known */
} RpcLead;

/*
 * Take it in: a sign of life, and what is committed.  *promised: this node has
 * promised to respect the lease, which the answer may tell.  Returns whether frames
 * of that term may still be appended here; if not, nothing was promised.
 */
extern bool rpc_lead(NodeShared *node, const RpcLead *lead, bool *promised);

/*
 * A lease as it comes from outside.  Raises ERRCODE_INVALID_PARAMETER_VALUE for one
 * that no setting can have made.
 */
extern uint32 rpc_lease(int32 lease_ms);

/*
 * Make this node follow `leader` in `term`, which is above its own or has no
 * known leader yet: the coordinator is told, and waited for (RPC_ACCEPT_MS at
 * most).  Returns whether frames of that term may be appended.
 */
extern bool rpc_accept_leader(NodeShared *node, uint64 term, uint16 leader);
#define RPC_ACCEPT_MS 5000

#endif							/* BATON_RPC_H */
