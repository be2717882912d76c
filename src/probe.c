/*-------------------------------------------------------------------------
 *
 * probe.c
 *		A look into one database: what is there to be served?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/snapmgr.h"

#include "launcher.h"
#include "session.h"
#include "stats_launch.h"
#include "version.h"

static Oid
oid_at(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

/* Of how many streams there is no room */
static int
publish_rollups(void)
{
	ScUnit	   *units;

	if (SPI_execute("SELECT stream::pg_catalog.oid, rollup::pg_catalog.oid"
					" FROM streamcount.rollup_catalog", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read streamcount.rollup_catalog");
	units = palloc0(sizeof(ScUnit) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		units[i].stream = oid_at(i, 1);
		units[i].rollup = oid_at(i, 2);
	}
	return sc_stats_publish(units, SPI_processed);
}

static void
look(void)
{
	int			left_over = 0;
	bool		installed;
	char	   *mismatch;
	MemoryContext cx = CurrentMemoryContext;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	installed = OidIsValid(get_extension_oid("streamcount", true));
	mismatch = sc_version_mismatch();
	if (mismatch)
		mismatch = MemoryContextStrdup(cx, mismatch);
	if (installed && mismatch == NULL)
		left_over = publish_rollups();
	else
		(void) sc_stats_publish(NULL, 0);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();

	if (mismatch)
		sc_stats_probe_result(SC_PROBE_FAILED, mismatch);
	else if (left_over > 0)
		sc_stats_probe_result(SC_PROBE_FAILED,
							  "there are more streams than streamcount.max_workers has room for");
	else
		sc_stats_probe_result(installed ? SC_PROBE_EXTENSION : SC_PROBE_NO_EXTENSION, "");
}

/*
 * What goes wrong in one database is told to the launcher, which logs it
 * once and looks again, rather than to the log every time.
 */
void
streamcount_probe_main(Datum arg)
{
	MemoryContext cx = CurrentMemoryContext;
	Oid			db;

	sc_session_serve_signals();
	db = sc_stats_probe_attach(DatumGetInt32(arg));
	if (!OidIsValid(db))
		proc_exit(0);
	sc_session_force_settings();
	BackgroundWorkerInitializeConnectionByOid(db, InvalidOid, 0);
	PG_TRY();
	{
		look();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cx);
		error = CopyErrorData();
		FlushErrorState();
		sc_stats_probe_result(SC_PROBE_FAILED, error->message);
	}
	PG_END_TRY();
	proc_exit(0);
}
