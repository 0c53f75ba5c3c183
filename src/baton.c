/*
 * baton.c - the library's entry point: wiring only.
 */
#include "baton.h"

#include "api/api.h"
#include "api/consistency.h"
#include "apply/ddl_nested.h"
#include "capture/ddl.h"
#include "capture/roles.h"
#include "failover/gate.h"
#include "fmgr.h"
#include "levels/level.h"
#include "miscadmin.h"
#include "node/launcher.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

bool		baton_preloaded = false;

/*
 * Called when the library is loaded: by the postmaster through
 * shared_preload_libraries, or by a session that calls one of its functions.
 * Without the former there is no shared memory, and so no node: the settings
 * are defined all the same, and the functions say what is missing.
 */
void
_PG_init(void)
{
	if (process_shared_preload_libraries_in_progress)
	{
		consistency_define_settings();
		levels_define_settings();
	}
	baton_define_settings();
	if (!process_shared_preload_libraries_in_progress)
		return;

	baton_preloaded = true;
	shared_state_init();
	ddl_nested_install_hooks();
	ddl_install_hooks();
	replica_identity_install_hooks();
	roles_install_hooks();
	levels_install_hooks();
	gate_install_hooks();
	guard_install_hooks();
	consistency_install_hooks();
	launcher_register();
}

/*
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE unless the library was
 * preloaded.
 */
void
baton_require_preloaded(void)
{
	if (baton_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("baton is not loaded"),
				 errdetail("baton needs shared memory and background workers from the server's start."),
				 errhint("Add \"baton\" to \"shared_preload_libraries\" and restart the server.")));
}
