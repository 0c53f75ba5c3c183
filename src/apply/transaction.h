/*
 * transaction.h - transactions of the stream that have begun and not ended.
 *
 * What they hold is not kept, only where it lies: the frames with their
 * records.  So memory is bounded by the number of frames (eight bytes or so per
 * MB of changes), and the stream log is the spool.
 */
#ifndef BATON_TRANSACTION_H
#define BATON_TRANSACTION_H

#include "baton.h"

#include "utils/hsearch.h"

/* A frame that holds records of a transaction. */
typedef struct TransactionFrame
{
	StreamPos	start;
	bool		mid_record;		/* it begins inside a record that was split into PARTs */
} TransactionFrame;

typedef struct OpenTransaction
{
	uint32		xid;
	bool		complete;		/* its BEGIN was seen */
	int			n_frames;
	int			max_frames;
	TransactionFrame *frames;	/* ascending */
	HTAB	   *aborted;		/* subtransactions rolled back, NULL: none */
} OpenTransaction;

typedef struct OpenTransactions
{
	MemoryContext cxt;
	HTAB	   *transactions;	/* of OpenTransaction, by xid */
} OpenTransactions;

extern OpenTransactions *open_transactions_create(MemoryContext parent);
/* Frame `frame` holds a record of xid; returns the transaction, new or known. */
extern OpenTransaction *open_transactions_note(OpenTransactions *set, uint32 xid,
											   TransactionFrame frame);
/* The transaction, or NULL. */
extern OpenTransaction *open_transactions_find(OpenTransactions *set, uint32 xid);
extern void open_transactions_remove(OpenTransactions *set, uint32 xid);
extern void open_transactions_clear(OpenTransactions *set);
extern int	open_transactions_count(OpenTransactions *set);
/* Start of the first frame of the oldest one, 0 if there is none. */
extern StreamPos open_transactions_oldest(OpenTransactions *set);

extern void open_transaction_abort_sub(OpenTransactions *set, OpenTransaction *txn, uint32 subxid);
extern bool open_transaction_is_aborted(OpenTransaction *txn, uint32 subxid);

#endif							/* BATON_TRANSACTION_H */
