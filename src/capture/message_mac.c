/*
 * message_mac.c - marks the server's own messages in WAL.
 *
 * Anybody may write logical messages (pg_logical_emit_message), and a role with
 * REPLICATION may read those of others.  A replica carries commands and states of
 * sequences out with more rights than such a role has, so it must take only what the
 * server itself has written: the mark is an HMAC (RFC 2104, SHA-256, cut to 16 bytes)
 * under a secret of the node that only its control file and shared memory hold.  The
 * transaction's xid is part of what is marked, so that a message that was read from WAL
 * is worth nothing when it is written again.
 */
#include "capture/message_mac.h"

#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
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
message_mac(NodeShared *node, TransactionId xid, const void *data, size_t len, uint8 *mac)
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
message_mac_fits(NodeShared *node, TransactionId xid, const void *data, size_t len,
				 const void *mac)
{
	uint8		expected[MESSAGE_MAC_LEN];

	message_mac(node, xid, data, len, expected);
	return memcmp(expected, mac, sizeof(expected)) == 0;
}
