/*
 * message_mac.h - how the output plugin knows messages in WAL that the server itself
 * has written.
 */
#ifndef BATON_MESSAGE_MAC_H
#define BATON_MESSAGE_MAC_H

#include "baton.h"

#include "stream/stream.h"

#define MESSAGE_MAC_LEN	16

/*
 * The mark of a message: `mac`, MESSAGE_MAC_LEN bytes, of the len bytes at data as
 * transaction xid writes them under the prefix; InvalidTransactionId if they belong to none.  Raises
 * ERRCODE_INTERNAL_ERROR if it cannot be computed.
 */
extern void message_mac(NodeShared *node, const char *prefix, TransactionId xid, const void *data, size_t len,
						uint8 *mac);
/* Is `mac` that? */
extern bool message_mac_fits(NodeShared *node, const char *prefix, TransactionId xid, const void *data, size_t len,
							 const void *mac);

/*
 * Begin a message of the session's transaction in an empty buffer: room for its mark, and
 * the number of its subtransaction.  What it says is put behind that; message_log() marks
 * it, writes it to WAL under the prefix, and frees the buffer.  Raises
 * ERRCODE_OUT_OF_MEMORY if the buffer could not hold it.
 */
extern void message_begin(StreamBuf *buf);
extern void message_log(NodeShared *node, const char *prefix, StreamBuf *buf);

#endif							/* BATON_MESSAGE_MAC_H */
