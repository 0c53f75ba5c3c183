/*
 * copy_handshake.c - how the copy worker has things written into the control
 * file, which only the coordinator writes.
 *
 *	 worker: fills in node->copy.request with a new id, wakes the coordinator,
 *			 waits until served == id
 *	 coordinator: copy_serve_coordinator() puts the request into its ControlData
 *			 (taken = id), the coordinator writes the file, copy_serve_done()
 *			 publishes what the file now says (served = id), wakes the worker
 *
 * A worker that dies in between leaves a request which the coordinator may still
 * serve.  That does no harm: a new log base without a log is what an interrupted
 * copy looks like anyway, and a FINISH is asked for only when all it says is true.
 */
#include "baton.h"

#include "copy/copy_internal.h"
#include "miscadmin.h"
#include "utils/wait_event.h"

/*
 * Have a request written.  request->id, taken and served are filled in here.
 * Returns when it is on disk; the wait has no end of its own, for without the
 * coordinator nothing in this node goes on, and it ends this worker if it stops.
 */
void
copy_request(NodeShared *node, CopyRequest *request)
{
	uint64		id;

	SpinLockAcquire(&node->mutex);
	id = node->copy.request.id + 1;
	request->id = id;
	request->taken = node->copy.request.taken;
	request->served = node->copy.request.served;
	node->copy.request = *request;
	SpinLockRelease(&node->mutex);

	ConditionVariablePrepareToSleep(&node->state_cv);
	for (;;)
	{
		bool		served;

		SpinLockAcquire(&node->mutex);
		served = node->copy.request.served >= id;
		SpinLockRelease(&node->mutex);
		if (served)
			break;
		/* again each second: a coordinator that was just starting missed the first */
		node_wake(node, WORKER_COORDINATOR);
		ConditionVariableTimedSleep(&node->state_cv, 1000, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/*
 * Wait until no request of a worker before this one is left.  It may have been the
 * last one, after which there is nothing to copy any more.
 */
void
copy_request_settle(NodeShared *node)
{
	for (;;)
	{
		bool		settled;

		SpinLockAcquire(&node->mutex);
		settled = node->copy.request.kind == COPY_REQUEST_NONE;
		SpinLockRelease(&node->mutex);
		if (settled)
			return;
		node_wake(node, WORKER_COORDINATOR);
		copy_sleep(100);
	}
}

/*
 * Coordinator: put a waiting request into the control data; *dirty becomes true
 * if there was one.
 */
void
copy_serve_coordinator(NodeShared *node, ControlData *control, bool *dirty)
{
	CopyRequest request;

	SpinLockAcquire(&node->mutex);
	request = node->copy.request;
	if (request.kind != COPY_REQUEST_NONE)
		node->copy.request.taken = request.id;
	SpinLockRelease(&node->mutex);

	if (request.kind == COPY_REQUEST_NONE)
		return;
	if (control->intent != INTENT_COPYING)
	{
		/* a person has stopped the node, or it has left: the worker is being ended */
		SpinLockAcquire(&node->mutex);
		node->copy.request.kind = COPY_REQUEST_NONE;
		SpinLockRelease(&node->mutex);
		return;
	}

	control->log_base = request.log_base;
	control->base_last_start = request.base_last_start;
	control->base_last_term = request.base_last_term;
	if (request.kind == COPY_REQUEST_LOG)
	{
		control->known_flushed = request.log_base;
		control->terms = request.terms;
		control->own_lsn = 0;
		control->applied_floor = request.log_base;
		control->copy_source = 0;
		control->copy_term = 0;
		control->copy_lsn = 0;
	}
	else
	{
		control->applied_floor = request.log_base;
		control->copy_source = request.copy_source;
		control->copy_term = request.copy_term;
		control->copy_lsn = request.copy_lsn;
		control->own_floor = request.own_floor;
		strlcpy(control->slot_name, request.slot_name, sizeof(control->slot_name));
		control->copy_replaces = false;
		control->intent = INTENT_ACTIVE;
		control->reason[0] = '\0';
	}
	*dirty = true;
}

/*
 * Coordinator: the control file is on disk with the request that was taken last.
 * Publishes what it says, then lets the worker go on.  The caller holds no locks.
 */
void
copy_serve_done(NodeShared *node)
{
	CopyRequest request;
	bool		finished;

	SpinLockAcquire(&node->mutex);
	request = node->copy.request;
	finished = request.kind == COPY_REQUEST_FINISH && request.taken == request.id;
	if (request.kind != COPY_REQUEST_NONE && request.taken == request.id)
	{
		if (finished)
		{
			node->copy_source = request.copy_source;
			node->copy_term = request.copy_term;
			node->copy_lsn = request.copy_lsn;
			node->own_floor = request.own_floor;
			strlcpy(node->slot_name, request.slot_name, sizeof(node->slot_name));
			node->applied = request.log_base;
			/* the data that had commits of their own is gone */
			node->diverged_lsn = InvalidXLogRecPtr;
			node->copy.replaces = false;
			/* the worker may be ended before it comes to say so */
			strlcpy(node->copy.phase, "done", sizeof(node->copy.phase));
			node->copy.error[0] = '\0';
		}
		node->copy.request.served = request.id;
		node->copy.request.kind = COPY_REQUEST_NONE;
	}
	SpinLockRelease(&node->mutex);

	if (finished)
	{
		LWLockAcquire(&node->state_lock, LW_EXCLUSIVE);
		node->intent = INTENT_ACTIVE;
		LWLockRelease(&node->state_lock);
		copy_forget(node);
	}
	ConditionVariableBroadcast(&node->state_cv);
}
