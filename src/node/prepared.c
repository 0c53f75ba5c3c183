/*
 * prepared.c - transactions that were prepared in a reign that is over.
 *
 * They come into the stream at COMMIT PREPARED only, so no other node has them.
 * On a node that follows another primary they can never be committed, and hold
 * locks that the applier would wait for: they are rolled back.
 */
#include "node/coordinator.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Their names, in cxt. */
static List *
prepared_names(Coordinator *c, MemoryContext cxt)
{
	List	   *names = NIL;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute("SELECT gid FROM pg_catalog.pg_prepared_xacts "
					"WHERE database = pg_catalog.current_database()", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_prepared_xacts");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *gid = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		names = lappend(names, pstrdup(gid));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return names;
}

static void
roll_back(const char *gid)
{
	StartTransactionCommand();
	FinishPreparedTransaction(gid, false);
	CommitTransactionCommand();
}

/*
 * Roll back what is prepared in the database.  The node must follow another
 * primary.  A failure is logged, and tried again with the next worker.
 */
void
coordinator_roll_back_prepared(Coordinator *c)
{
	MemoryContext cxt = CurrentMemoryContext;
	ListCell   *lc;

	PG_TRY();
	{
		List	   *names = max_prepared_xacts > 0 ? prepared_names(c, cxt) : NIL;

		foreach(lc, names)
		{
			roll_back(lfirst(lc));
			MemoryContextSwitchTo(cxt);
			coordinator_note(c, "rolled back", "the prepared transaction \"%s\" was rolled back: another node leads",
							 (char *) lfirst(lc));
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
}
