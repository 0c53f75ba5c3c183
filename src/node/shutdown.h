/*
 * shutdown.h - what baton's workers do while their server stops.
 */
#ifndef BATON_SHUTDOWN_H
#define BATON_SHUTDOWN_H

#include "shared_state.h"

/* Is this server on its way down? */
extern bool server_is_stopping(void);

/*
 * After SIGTERM: does this worker go on, because its server stops, and the
 * coordinator has not told it to end?
 */
extern bool node_worker_outlives(NodeShared *node, WorkerKind kind);

/* The coordinator tells a worker to end, now, whatever the server does; or takes it back. */
extern void node_worker_tell(NodeShared *node, WorkerKind kind, bool end);

#endif							/* BATON_SHUTDOWN_H */
