/*
 * message_mac.h - how the output plugin knows messages in WAL that the server itself
 * has written.
 */
#ifndef BATON_MESSAGE_MAC_H
#define BATON_MESSAGE_MAC_H

#include "baton.h"

#define MESSAGE_MAC_LEN	16

/*
 * The mark of a message: `mac`, MESSAGE_MAC_LEN bytes, of the len bytes at data as
 * transaction xid writes them; InvalidTransactionId if they belong to none.  Raises
 * ERRCODE_INTERNAL_ERROR if it cannot be computed.
 */
extern void message_mac(NodeShared *node, TransactionId xid, const void *data, size_t len,
						uint8 *mac);
/* Is `mac` that? */
extern bool message_mac_fits(NodeShared *node, TransactionId xid, const void *data, size_t len,
							 const void *mac);

#endif							/* BATON_MESSAGE_MAC_H */
