/*
 * ddl_depends.c - objects that are not temporary themselves, but live no longer than
 * something temporary: a function that takes or returns rows of a temporary table, a
 * domain over such rows.  Replicas cannot have them.
 */
#include "capture/ddl.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

static bool
refers_to_temporary(const FormData_pg_depend *depend)
{
	ObjectAddress on = {depend->refclassid, depend->refobjid, 0};

	/* columns of a table go one by one, and the table stays */
	if (depend->objsubid != 0 ||
		(on.classId != TypeRelationId && on.classId != RelationRelationId))
		return false;
	return isTempNamespace(get_object_namespace(&on));
}

bool
ddl_depends_on_temporary(const ObjectAddress *address)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(address->classId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(address->objectId));
	scan = systable_beginscan(rel, DependDependerIndexId, true, NULL, 2, key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = refers_to_temporary((Form_pg_depend) GETSTRUCT(tuple));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* (%TYPE stands for a column's type, and to look it up would say so once more.) */
static bool
type_is_temporary(TypeName *name)
{
	Oid			type = name != NULL && !name->pct_type ?
		LookupTypeNameOid(NULL, name, true) : InvalidOid;
	ObjectAddress address = {TypeRelationId, type, 0};

	return OidIsValid(type) && isTempNamespace(get_object_namespace(&address));
}

static bool
signature_is_temporary(CreateFunctionStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->parameters)
		if (type_is_temporary(((FunctionParameter *) lfirst(lc))->argType))
			return true;
	return type_is_temporary(stmt->returnType);
}

bool
ddl_is_made_of_temporary(Node *parsetree)
{
	if (IsA(parsetree, CreateFunctionStmt))
		return signature_is_temporary((CreateFunctionStmt *) parsetree);
	if (IsA(parsetree, CreateDomainStmt))
		return type_is_temporary(((CreateDomainStmt *) parsetree)->typeName);
	return false;
}
