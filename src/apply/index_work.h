/*
 * index_work.h - indexes that a worker builds, or drops, beside apply.
 */
#ifndef BATON_INDEX_WORK_H
#define BATON_INDEX_WORK_H

#include "baton.h"

#include "nodes/pg_list.h"

/* One index that waits for its worker. */
typedef struct IndexWork
{
	Oid			index;
	const char *name;			/* "" if it is gone */
	bool		drop;			/* else: build */
	bool		unique;			/* a primary must have it */
	const char *search_path;	/* of who has given the command; for what the index calls */
} IndexWork;

/* ---- index_work.c: what is to be done ---- */

/* Note it, in the current transaction; the search_path that is set goes along. */
extern void index_work_mark(Oid index, bool drop);
/* It is done. */
extern void index_work_unmark(Oid index);
/* Is it still to be done? */
extern bool index_work_is_marked(const IndexWork *work);
/* Of IndexWork, unique ones first, in the current memory context; needs a transaction. */
extern List *index_work_list(void);
/* A committed transaction has noted some: the worker is started. */
extern void index_work_ask(NodeShared *node);
/* The group hears whether unique indexes are still to be built here. */
extern void index_work_tell_unique(NodeShared *node, bool unique);
/* Is there any that is not done? */
extern bool index_work_waits(NodeShared *node);
/*
 * Do it here and now, in the current transaction, with the locks of CREATE INDEX and DROP
 * INDEX.  unique_only: builds of unique indexes, no more.  Raises what these raise.
 */
extern void index_work_do_all(bool unique_only);
/* Build one index so, if it is not valid. */
extern void index_work_build(Oid index);
/* The index has become valid: so has, maybe, the partitioned one that it is part of. */
extern void index_work_validate_parent(Oid index);
/* Set search_path for the work; reset with the GUC level, or for good. */
extern void index_work_set_path(const IndexWork *work, int action);

/* ---- index_concurrent.c: one index, without locks that writers or readers feel ---- */

/*
 * Both commit and begin transactions; called outside of any.  Return with nothing done
 * if the work has gone meanwhile.  An error leaves session locks behind, and an index
 * that is as invalid as it was.
 */
extern void index_build_concurrently(const IndexWork *work);
extern void index_drop_concurrently(const IndexWork *work);

#endif							/* BATON_INDEX_WORK_H */
