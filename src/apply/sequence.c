/*
 * sequence.c - sets a sequence to the state that it has on the source.
 *
 * That state covers values which have been logged there ahead of their use, so what
 * is handed out here after a promotion lies beyond all that was handed out there.
 */
#include "apply/apply.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

/*
 * Carry out a SEQUENCE record.  One of a sequence that is not here is passed over: it
 * was dropped behind this place of the stream, and this place is read again.
 */
void
apply_sequence(LocalTransaction *t, const Record *r)
{
	RecordSequence s;
	StreamError err = {0};
	Oid			relid;

	if (record_get_sequence(r, &s, &err) != STREAM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("%s", err.message)));
	local_become_self(t);
	relid = RangeVarGetRelid(makeRangeVar(s.nspname, s.relname, -1), NoLock, true);
	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_SEQUENCE)
		return;
	DirectFunctionCall3(setval3_oid, ObjectIdGetDatum(relid), Int64GetDatum(s.last_value),
						BoolGetDatum(s.is_called));
	t->written = true;
}
