/*
 * unsupported.c - names what will not be carried to replicas when a group is created.
 * The view baton.unsupported knows what that is.
 */
#include "api/unsupported.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* One row for each kind: kind, five names at most, how many more, reason, hint. */
static const char *const by_kind =
	"SELECT kind, pg_catalog.string_agg(name, ', ' ORDER BY name) FILTER (WHERE n <= 5), "
	"  pg_catalog.count(*) FILTER (WHERE n > 5), reason, hint "
	"FROM (SELECT *, pg_catalog.row_number() OVER (PARTITION BY kind, reason, hint ORDER BY name) AS n "
	"  FROM baton.unsupported) u GROUP BY kind, reason, hint ORDER BY kind, 2";

static void
warn_of(HeapTuple row, TupleDesc desc)
{
	char	   *kind = SPI_getvalue(row, desc, 1);
	char	   *names = SPI_getvalue(row, desc, 2);
	char	   *more = SPI_getvalue(row, desc, 3);

	if (strcmp(more, "0") != 0)
		names = psprintf("%s and %s more", names, more);
	ereport(WARNING,
			(errmsg("not carried to replicas: %s %s", kind, names),
			 errdetail("Reason: %s.", SPI_getvalue(row, desc, 4)),
			 errhint("%s. See baton.unsupported.", SPI_getvalue(row, desc, 5))));
}

void
unsupported_warn(void)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(by_kind, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read baton.unsupported");
	for (uint64 i = 0; i < SPI_processed; i++)
		warn_of(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_finish();
	PopActiveSnapshot();
}
