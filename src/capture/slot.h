/*
 * slot.h - capture's logical replication slot.
 */
#ifndef BATON_SLOT_H
#define BATON_SLOT_H

#include "baton.h"

/* What capture_error says, among other things, when the slot was dropped for its size. */
#define CAPTURE_SLOT_TOO_LARGE "held back more WAL than baton.slot_keep_size"

/* Name of a node's slot: baton_<database oid>.  out holds NAMEDATALEN bytes. */
extern void capture_slot_name(const NodeShared *node, char *out);

/*
 * Whether this server has the node's slot: of this database, with baton's plugin,
 * and not invalidated.  Reads shared memory only.
 */
extern bool capture_slot_exists(NodeShared *node);

/*
 * Make the slot, over a loopback connection; true also if it is there already.
 * PostgreSQL waits for every transaction of the server that is running now to
 * end; interrupts are checked, and after timeout_ms milliseconds (0: no limit) the
 * attempt is cancelled and err names the sessions that were waited for.  Meanwhile
 * go_on (may be NULL) is told each 2 s what the wait is for, and ends it if it
 * returns false.  The caller should hold no xid.
 *
 * Returns false with the reason in err.
 */
typedef bool (*SlotGoOn) (NodeShared *node, const char *waits_for);
extern bool capture_slot_create(NodeShared *node, int timeout_ms, SlotGoOn go_on,
								char *err, size_t errlen);

/*
 * Drop the slot; true also if there is none.  A walsender that uses it is
 * terminated; the caller has ended the capture worker, or wants it to notice.
 *
 * Returns false with the reason in err.
 */
extern bool capture_slot_drop(NodeShared *node, char *err, size_t errlen);

/*
 * Drop the slot if it holds back more WAL than baton.slot_keep_size, and say so in
 * capture_error and in the server log.  The coordinator calls this every 10 s.
 * Returns true if the slot was dropped.
 */
extern bool capture_slot_enforce_keep_size(NodeShared *node);

#endif							/* BATON_SLOT_H */
