/*
 * handshake_text.c - what a node says of its database in a handshake, beside the
 * names: how it sorts.
 *
 * Text in an index is ordered by the operating system's or ICU's collations, whose
 * versions may differ from server to server.  Replication itself does not mind,
 * since rows are found by keys and not by order; a person who compares two nodes, or
 * fails over, should know.
 */
#include "baton.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "ship/rpc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static char *
attribute_or_empty(HeapTuple tuple, AttrNumber attribute)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(DATABASEOID, tuple, attribute, &isnull);

	return isnull ? pstrdup("") : TextDatumGetCString(value);
}

/*
 * The database's provider, locale and collation version, in one line; palloc'd.
 * Begins a transaction of its own if there is none.
 */
char *
rpc_collation(void)
{
	MemoryContext context = CurrentMemoryContext;
	bool		own = !IsTransactionState();
	char	   *out = "";
	HeapTuple	tuple;

	if (own)
		StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	if (HeapTupleIsValid(tuple))
	{
		char	   *text = psprintf("provider %c, locale %s %s, version %s",
									((Form_pg_database) GETSTRUCT(tuple))->datlocprovider,
									attribute_or_empty(tuple, Anum_pg_database_datcollate),
									attribute_or_empty(tuple, BATON_DATABASE_LOCALE),
									attribute_or_empty(tuple, Anum_pg_database_datcollversion));

		out = MemoryContextStrdup(context, text);
		ReleaseSysCache(tuple);
	}
	if (own)
		CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return out;
}
