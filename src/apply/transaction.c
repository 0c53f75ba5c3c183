/*
 * transaction.c - transactions of the stream that have begun and not ended; see
 * transaction.h.
 */
#include "apply/transaction.h"

#include "utils/memutils.h"

OpenTransactions *
open_transactions_create(MemoryContext parent)
{
	OpenTransactions *set = MemoryContextAllocZero(parent, sizeof(OpenTransactions));
	HASHCTL		ctl = {0};

	set->cxt = AllocSetContextCreate(parent, "baton open transactions", ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(OpenTransaction);
	ctl.hcxt = set->cxt;
	set->transactions = hash_create("baton open transactions", 64, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return set;
}

static void
add_frame(OpenTransactions *set, OpenTransaction *txn, TransactionFrame frame)
{
	if (txn->n_frames == txn->max_frames)
	{
		int			max = Max(4, txn->max_frames * 2);

		if (txn->frames == NULL)
			txn->frames = MemoryContextAlloc(set->cxt, max * sizeof(TransactionFrame));
		else
			txn->frames = repalloc_huge(txn->frames, max * sizeof(TransactionFrame));
		txn->max_frames = max;
	}
	txn->frames[txn->n_frames++] = frame;
}

/*
 * Frames come in ascending order; one that is noted already (again with each
 * record in it, and when a frame is gone through once more after an error) is
 * not added twice.
 */
OpenTransaction *
open_transactions_note(OpenTransactions *set, uint32 xid, TransactionFrame frame)
{
	OpenTransaction *txn;
	bool		found;

	txn = hash_search(set->transactions, &xid, HASH_ENTER, &found);
	if (!found)
	{
		memset(txn, 0, sizeof(OpenTransaction));
		txn->xid = xid;
	}
	if (txn->n_frames == 0 || txn->frames[txn->n_frames - 1].start < frame.start)
		add_frame(set, txn, frame);
	return txn;
}

OpenTransaction *
open_transactions_find(OpenTransactions *set, uint32 xid)
{
	return hash_search(set->transactions, &xid, HASH_FIND, NULL);
}

static void
free_transaction(OpenTransaction *txn)
{
	if (txn->frames)
		pfree(txn->frames);
	if (txn->aborted)
		hash_destroy(txn->aborted);
}

void
open_transactions_remove(OpenTransactions *set, uint32 xid)
{
	OpenTransaction *txn = open_transactions_find(set, xid);

	if (txn == NULL)
		return;
	free_transaction(txn);
	hash_search(set->transactions, &xid, HASH_REMOVE, NULL);
}

void
open_transactions_clear(OpenTransactions *set)
{
	HASH_SEQ_STATUS seq;
	OpenTransaction *txn;

	hash_seq_init(&seq, set->transactions);
	while ((txn = hash_seq_search(&seq)) != NULL)
	{
		free_transaction(txn);
		hash_search(set->transactions, &txn->xid, HASH_REMOVE, NULL);
	}
}

int
open_transactions_count(OpenTransactions *set)
{
	return (int) hash_get_num_entries(set->transactions);
}

StreamPos
open_transactions_oldest(OpenTransactions *set)
{
	HASH_SEQ_STATUS seq;
	OpenTransaction *txn;
	StreamPos	oldest = 0;

	if (hash_get_num_entries(set->transactions) == 0)
		return 0;
	hash_seq_init(&seq, set->transactions);
	while ((txn = hash_seq_search(&seq)) != NULL)
		if (oldest == 0 || txn->frames[0].start < oldest)
			oldest = txn->frames[0].start;
	return oldest;
}

void
open_transaction_abort_sub(OpenTransactions *set, OpenTransaction *txn, uint32 subxid)
{
	if (txn->aborted == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(uint32);
		ctl.entrysize = sizeof(uint32);
		ctl.hcxt = set->cxt;
		txn->aborted = hash_create("baton aborted subtransactions", 16, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	hash_search(txn->aborted, &subxid, HASH_ENTER, NULL);
}

bool
open_transaction_is_aborted(OpenTransaction *txn, uint32 subxid)
{
	return txn->aborted != NULL && hash_search(txn->aborted, &subxid, HASH_FIND, NULL) != NULL;
}
