/*
 * message_mac.c - marks the server's own messages in WAL.
 *
 * Anybody may write logical messages (pg_logical_emit_message), and a role with
 * REPLICATION may read those of others.  A replica carries commands and states of
 * sequences out with more rights than such a role has, so it must take only what the
 * server itself has written: the mark is an HMAC (RFC 2104, SHA-256, cut to 16 bytes)
 * under a secret of the node that only its control file and shared memory hold.  The
 * prefix and the transaction's xid are part of what is marked, so that a message that
 * was read from WAL is worth nothing when it is written again, or as another kind.
 */
#include "capture/message_mac.h"

#include "access/xact.h"
#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "replication/message.h"
#include "utils/resowner.h"

/* A context of OpenSSL's needs an owner, and between transactions, where a walsender
 * decodes sequences, there is none. */
static void
ensure_resource_owner(void)
{
	static ResourceOwner own = NULL;

	if (CurrentResourceOwner != NULL)
		return;
	if (own == NULL)
		own = ResourceOwnerCreate(NULL, "baton messages");
	CurrentResourceOwner = own;
}

void
message_mac(NodeShared *node, const char *prefix, TransactionId xid, const void *data, size_t len, uint8 *mac)
{
	uint8		key[DDL_KEY_LEN];
	uint8		whole[PG_SHA256_DIGEST_LENGTH];
	ResourceOwner owner = CurrentResourceOwner;
	pg_hmac_ctx *ctx;
	bool		done;

	LWLockAcquire(&node->state_lock, LW_SHARED);
	memcpy(key, node->ddl_key, sizeof(key));
	LWLockRelease(&node->state_lock);
	ensure_resource_owner();
	ctx = pg_hmac_create(PG_SHA256);
	done = ctx != NULL &&
		pg_hmac_init(ctx, key, sizeof(key)) >= 0 &&
		pg_hmac_update(ctx, (const uint8 *) prefix, strlen(prefix) + 1) >= 0 &&
		pg_hmac_update(ctx, (const uint8 *) &xid, sizeof(xid)) >= 0 &&
		pg_hmac_update(ctx, data, len) >= 0 &&
		pg_hmac_final(ctx, whole, sizeof(whole)) >= 0;
	pg_hmac_free(ctx);
	CurrentResourceOwner = owner;
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the mark of a message for the stream")));
	memcpy(mac, whole, MESSAGE_MAC_LEN);
}

bool
message_mac_fits(NodeShared *node, const char *prefix, TransactionId xid, const void *data, size_t len,
				 const void *mac)
{
	uint8		expected[MESSAGE_MAC_LEN];

	message_mac(node, prefix, xid, data, len, expected);
	return memcmp(expected, mac, sizeof(expected)) == 0;
}

void
message_begin(StreamBuf *buf)
{
	const uint8 no_mac[MESSAGE_MAC_LEN] = {0};

	stream_buf_append(buf, no_mac, sizeof(no_mac));
	stream_buf_u32(buf, GetCurrentTransactionId());
}

void
message_log(NodeShared *node, const char *prefix, StreamBuf *buf)
{
	if (buf->failed)
	{
		stream_buf_free(buf);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	PG_TRY();
	{
		message_mac(node, prefix, GetTopTransactionId(), buf->data + MESSAGE_MAC_LEN,
					buf->len - MESSAGE_MAC_LEN, (uint8 *) buf->data);
		(void) baton_log_message(prefix, buf->data, buf->len, true);
	}
	PG_FINALLY();
	{
		stream_buf_free(buf);
	}
	PG_END_TRY();
}
