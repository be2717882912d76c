/*-------------------------------------------------------------------------
 *
 * module.c
 *		What happens when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "guc.h"
#include "launcher.h"
#include "stats.h"
#include "withdraw.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

/* More units than workers: those for which there is none are shown, too. */
static void
request_shared_memory(void)
{
	if (previous_request)
		previous_request();
	sc_stats_request(Max(64, 8 * sc_max_workers), sc_max_partitions);
}

static void
start_shared_memory(void)
{
	if (previous_startup)
		previous_startup();
	sc_stats_startup();
}

/* During an upgrade nothing may be written that the upgrade does not write. */
void
_PG_init(void)
{
	sc_guc_define(process_shared_preload_libraries_in_progress);
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	previous_request = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	sc_withdraw_watch();
	sc_launcher_register();
}
