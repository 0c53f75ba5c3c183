/*
 * sequence.h - the states of sequences: how they come into the stream.
 */
#ifndef BATON_SEQUENCE_H
#define BATON_SEQUENCE_H

#include "baton.h"

#include "capture/message_mac.h"

/* The prefix of the message that a state is for the output plugin; its bytes are a
 * SequenceMessage. */
#define SEQUENCE_MESSAGE_PREFIX "baton.sequence"

/* The storage says which sequence it is: one that is given new storage by ALTER
 * SEQUENCE is another from then on. */
typedef struct SequenceMessage
{
	uint8		mac[MESSAGE_MAC_LEN];	/* of what follows, as of no transaction */
	Oid			tablespace;
	Oid			relfilenode;
	TransactionId subxid;		/* if it belongs to the transaction: to which part of it */
	int64		last_value;
	int32		reserved;		/* increments beyond last_value that are logged */
	bool		is_called;
} SequenceMessage;

/* What is marked of a message. */
#define SEQUENCE_MARKED(m)	((const char *) (m) + MESSAGE_MAC_LEN), (sizeof(*(m)) - MESSAGE_MAC_LEN)

/* ---- plugin_sequence.c has its functions in plugin.h ---- */

/* ---- sequence_publish.c ---- */

typedef struct SequencePublisher SequencePublisher;

/* Called by the coordinator; `cxt` is where it keeps what it has told. */
extern SequencePublisher *sequences_create(NodeShared *node, MemoryContext cxt);
/* Forget what was told: a reign begins. */
extern void sequences_forget(SequencePublisher *p);
/*
 * Bring the exact states of all sequences into the WAL that have moved since the last
 * call; cheap if nothing can have.  False, with the error logged, if that did not
 * succeed for all of them; the next call does the rest.  Who has asked up to `asked`
 * waits no longer.
 */
extern bool sequences_publish(SequencePublisher *p, uint64 asked);
/* Is somebody waiting for that?  *asked: the last who is. */
extern bool sequences_wanted(NodeShared *node, uint64 *asked);

/* Called by sessions on the primary: have the states told, and wait for that, but no
 * longer than ms milliseconds. */
extern void sequences_ask(NodeShared *node, long ms);

#endif							/* BATON_SEQUENCE_H */
