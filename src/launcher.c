/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		The one process that decides which others there are.
 *
 * It is connected to no database, so it is in nobody's way, and reads
 * pg_database alone.  What is to be done in a database it learns from a
 * probe, a process that looks and ends; what a unit needs is done by a
 * worker.  All that it must not forget stands in shared memory: ended and
 * started again, it goes on with the workers that there are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "launcher_private.h"
#include "session.h"
#include "stats_launch.h"

#define LIBRARY "streamcount"

void
sc_launcher_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_name, "streamcount launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "streamcount launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, LIBRARY, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "streamcount_launcher_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* The caller has written name and type. */
BackgroundWorkerHandle *
sc_launcher_start(BackgroundWorker *worker, const char *function, int index, uint64 ticket)
{
	MemoryContext turn = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorkerHandle *handle = NULL;

	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_notify_pid = MyProcPid;
	worker->bgw_main_arg = Int32GetDatum(index);
	strlcpy(worker->bgw_library_name, LIBRARY, BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	memcpy(worker->bgw_extra, &ticket, sizeof(ticket));
	(void) RegisterDynamicBackgroundWorker(worker, &handle);
	MemoryContextSwitchTo(turn);
	return handle;
}

int64
sc_launcher_backoff(int failures, int64 first, int64 most)
{
	return Min(most, first << Min(Max(failures - 1, 0), 20));
}

static int64
clock_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

static void
wait_until(int64 next)
{
	int64		left = next - clock_ms();

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max(left, 0), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	(void) sc_session_reload();
}

void
streamcount_launcher_main(Datum arg)
{
	MemoryContext turn;

	sc_session_serve_signals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	sc_stats_launcher_attach();
	sc_launcher_databases_begin();
	sc_launcher_units_begin();
	turn = AllocSetContextCreate(TopMemoryContext, "streamcount turn", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		int64		now = clock_ms();
		int64		next;

		MemoryContextReset(turn);
		MemoryContextSwitchTo(turn);
		next = sc_launcher_databases_turn(now);
		next = Min(next, sc_launcher_units_turn(now));
		wait_until(next);
	}
}
