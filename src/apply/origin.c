/*
 * origin.c - the replication origin of applied transactions; see origin.h.
 */
#include "apply/origin.h"

#include "access/xact.h"

void
apply_origin_name(Oid dboid, char *name, size_t size)
{
	snprintf(name, size, "baton_%u", dboid);
}

RepOriginId
apply_origin_ensure(NodeShared *node)
{
	char		name[NAMEDATALEN];
	RepOriginId origin;

	apply_origin_name(node->dboid, name, sizeof(name));
	StartTransactionCommand();
	origin = replorigin_by_name(name, true);
	if (origin == InvalidRepOriginId)
		origin = replorigin_create(name);
	CommitTransactionCommand();
	return origin;
}

void
apply_origin_drop(NodeShared *node)
{
	char		name[NAMEDATALEN];

	apply_origin_name(node->dboid, name, sizeof(name));
	StartTransactionCommand();
	if (replorigin_by_name(name, true) != InvalidRepOriginId)
		replorigin_drop_by_name(name, true, true);
	CommitTransactionCommand();
}
