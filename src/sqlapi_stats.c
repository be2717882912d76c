/*-------------------------------------------------------------------------
 *
 * sqlapi_stats.c
 *		SQL functions that show what live workers know, and wait for them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "compat.h"
#include "guc.h"
#include "moment.h"
#include "sqlapi.h"
#include "stats.h"
#include "version.h"

PG_FUNCTION_INFO_V1(streamcount_live_partitions);
PG_FUNCTION_INFO_V1(streamcount_live_units);
PG_FUNCTION_INFO_V1(streamcount_down_reason);
PG_FUNCTION_INFO_V1(streamcount_wait);

static void
put_int64(Datum *values, bool *nulls, int i, int64 value)
{
	nulls[i] = value < 0;
	values[i] = Int64GetDatum(value);
}

static void
put_time(Datum *values, bool *nulls, int i, TimestampTz value)
{
	nulls[i] = value == 0;
	values[i] = TimestampTzGetDatum(value);
}

static void
put_text(Datum *values, bool *nulls, int i, const char *value)
{
	nulls[i] = value == NULL || *value == '\0';
	values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(value);
}

static TimestampTz
from_kafka_time(int64 ms)
{
	TimestampTz ts;

	return ms < 0 || !sc_moment_try_kafka(ms, &ts) ? 0 : ts;
}

bool
sc_sqlapi_may_see(Oid rollup)
{
	return pg_class_aclcheck_ext(rollup, GetUserId(), ACL_SELECT, &(bool) {false}) == ACLCHECK_OK ||
		has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

/* It may quote what was in a message. */
static bool
may_see_reason(Oid rollup)
{
	/* Asked first: a rollup that is dropped just now has no owner. */
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) ||
		sc_owns_relation(rollup, GetUserId());
}

/* The unit's reason is that of any of its rollups. */
static bool
may_see_unit(const ScUnit *unit, bool (*may_see) (Oid rollup))
{
	ListCell   *lc;

	if (OidIsValid(unit->rollup))
		return may_see(unit->rollup);
	if (has_privs_of_role(GetUserId(), ROLE_PG_MONITOR))
		return true;
	foreach(lc, sc_catalog_rollups(unit->stream, CurrentMemoryContext))
		if (may_see(((ScRollup *) lfirst(lc))->relid))
			return true;
	return false;
}

/* (rollup oid, partition, next, high, low, last_message, checked_at, state, since, reason) */
Datum
streamcount_live_partitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, sc_stats_live_list())
	{
		ScLive	   *live = lfirst(lc);
		Datum		values[10];
		bool		nulls[10] = {false};

		if (!sc_sqlapi_may_see(live->rollup))
			continue;
		values[0] = ObjectIdGetDatum(live->rollup);
		values[1] = Int32GetDatum(live->partition);
		put_int64(values, nulls, 2, live->next_offset);
		put_int64(values, nulls, 3, live->high_watermark);
		put_int64(values, nulls, 4, live->low_watermark);
		put_time(values, nulls, 5, from_kafka_time(live->last_message_ms));
		put_time(values, nulls, 6, live->checked_at);
		put_text(values, nulls, 7, sc_state_name(live->state));
		put_time(values, nulls, 8, live->since);
		put_text(values, nulls, 9, may_see_reason(live->rollup) ? live->reason : NULL);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* (stream, rollup, pid, state, since, reason, failures, messages, bytes, flushes, rows, started, flushed) */
Datum
streamcount_live_units(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, sc_stats_unit_list())
	{
		ScUnitInfo *info = lfirst(lc);
		Datum		values[13];
		bool		nulls[13] = {false};

		if (!may_see_unit(&info->unit, sc_sqlapi_may_see))
			continue;
		values[0] = ObjectIdGetDatum(info->unit.stream);
		values[1] = ObjectIdGetDatum(info->unit.rollup);
		nulls[1] = !OidIsValid(info->unit.rollup);
		values[2] = Int32GetDatum(info->pid);
		nulls[2] = info->pid == 0;
		put_text(values, nulls, 3, sc_state_name(info->state));
		put_time(values, nulls, 4, info->since);
		put_text(values, nulls, 5, may_see_unit(&info->unit, may_see_reason) ? info->reason : NULL);
		values[6] = Int32GetDatum(info->failures);
		put_int64(values, nulls, 7, info->messages);
		put_int64(values, nulls, 8, info->bytes);
		put_int64(values, nulls, 9, info->flushes);
		put_int64(values, nulls, 10, info->rows_written);
		put_time(values, nulls, 11, info->started_at);
		put_time(values, nulls, 12, info->flushed_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Why there can be no worker in this database at all; NULL: there can. */
static const char *
down_reason(void)
{
	if (!sc_stats_available())
		return "streamcount is not in shared_preload_libraries";
	if (!sc_enabled)
		return "streamcount.enabled is off";
	if (RecoveryInProgress())
		return "the server is a standby";
	return sc_version_mismatch();
}

Datum
streamcount_down_reason(PG_FUNCTION_ARGS)
{
	const char *reason = down_reason();

	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}

/* ---------------------------------------------------------------------
 * wait()
 * --------------------------------------------------------------------- */

/* Time for a worker to be started, after a commit that asks for one. */
#define START_GRACE_MS 10000

typedef struct Waiting
{
	MemoryContext cx;			/* the whole wait; each look has its own */
	Oid			relid;
	ScRollup   *rollup;
	uint64		request;		/* number of our question for the ends; 0: not asked */
	Oid			asked;			/* the rollup, if it was served apart then */
	int			nends;			/* -1: not answered */
	int32	   *partitions;
	int64	   *ends;
} Waiting;

static void
cannot_wait(const ScRollup *rollup, const char *state, const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot wait for rollup %s: it is %s", rollup->name, state),
			 reason && *reason ? errdetail("%s", reason) : 0,
			 strcmp(state, "paused") == 0 ?
			 errhint("Run streamcount.resume() first.") :
			 errhint("The view streamcount.problems says what to do.")));
}

static void
check_durable_state(Waiting *w)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	w->rollup = sc_catalog_rollup(w->relid, CurrentMemoryContext);
	PopActiveSnapshot();
	if (w->rollup == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a rollup", get_rel_name(w->relid)),
				 errhint("The view streamcount.rollups lists the rollups.")));
	if (w->rollup->halted)
		cannot_wait(w->rollup, "halted", NULL);
	if (w->rollup->paused)
		cannot_wait(w->rollup, "paused", NULL);
	for (int i = 0; i < w->rollup->nprogress; i++)
		if (w->rollup->progress[i].halted)
			cannot_wait(w->rollup, "halted",
						psprintf("Partition %d is halted.", w->rollup->progress[i].partition));
}

/* The unit that serves the rollup; false while none does. */
static bool
find_unit(const Waiting *w, ScUnitInfo *info)
{
	Oid			apart = sc_stats_is_apart(w->relid) ? w->relid : InvalidOid;

	return sc_stats_unit_of(w->rollup->stream, apart, info) && info->pid != 0;
}

static void
check_unit(const Waiting *w, TimestampTz started)
{
	ScUnitInfo	info;
	const char *why = down_reason();

	memset(&info, 0, sizeof(info));
	if (why != NULL)
		cannot_wait(w->rollup, "down", why);
	if (find_unit(w, &info))
		return;
	if (info.failures > 1 ||
		TimestampDifferenceExceeds(started, sc_clock_now(), START_GRACE_MS))
		cannot_wait(w->rollup, "down",
					*info.reason && may_see_reason(w->relid) ? info.reason : "No worker serves it.");
}

/*
 * Have all partitions been asked for their ends since our request?  Of one that
 * is not shown, for want of room or since it has only begun, nothing is known.
 */
static void
read_answer(Waiting *w)
{
	List	   *lives = sc_stats_live_list();
	ListCell   *lc;
	int32	   *partitions = palloc(sizeof(int32) * (list_length(lives) + 1));
	int64	   *ends = palloc(sizeof(int64) * (list_length(lives) + 1));
	int			n = 0;

	foreach(lc, lives)
	{
		ScLive	   *live = lfirst(lc);

		if (live->rollup != w->relid)
			continue;
		if (live->end_request < w->request)
			return;
		partitions[n] = live->partition;
		ends[n++] = live->end_offset;
	}
	if (n == 0 || n < w->rollup->nprogress)
		return;
	w->partitions = MemoryContextAlloc(w->cx, sizeof(int32) * n);
	w->ends = MemoryContextAlloc(w->cx, sizeof(int64) * n);
	memcpy(w->partitions, partitions, sizeof(int32) * n);
	memcpy(w->ends, ends, sizeof(int64) * n);
	w->nends = n;
}

static bool
has_arrived(const Waiting *w)
{
	for (int i = 0; i < w->nends; i++)
	{
		ScLive		live;

		if (!sc_stats_live_get(w->relid, w->partitions[i], &live) ||
			live.next_offset < w->ends[i])
			return false;
	}
	return true;
}

static bool
ask_or_look(Waiting *w)
{
	Oid			apart = sc_stats_is_apart(w->relid) ? w->relid : InvalidOid;

	/* Whose worker was asked may have just given it away. */
	if (w->request == 0 || (w->nends < 0 && w->asked != apart))
	{
		w->asked = apart;
		w->request = sc_stats_ask_end(w->rollup->stream, apart);
	}
	if (w->request != 0 && w->nends < 0)
		read_answer(w);
	return w->nends >= 0 && has_arrived(w);
}

Datum
streamcount_wait(PG_FUNCTION_ARGS)
{
	Waiting		w = {.cx = CurrentMemoryContext, .relid = PG_GETARG_OID(0), .nends = -1};
	MemoryContext look = AllocSetContextCreate(CurrentMemoryContext, "streamcount wait",
											   ALLOCSET_DEFAULT_SIZES);
	TimestampTz today = GetCurrentTimestamp();
	TimestampTz started = sc_clock_now();
	TimestampTz deadline;
	bool		arrived = false;
	AclResult	acl = pg_class_aclcheck(w.relid, GetUserId(), ACL_SELECT);

	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_VIEW, get_rel_name(w.relid));
	/* How long a month is, is told by the calendar. */
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(today),
													   PG_GETARG_DATUM(1))) - today + started;
	sc_stats_wait_prepare();
	for (;;)
	{
		TimestampTz now;

		MemoryContextReset(look);
		MemoryContextSwitchTo(look);
		check_durable_state(&w);
		check_unit(&w, started);
		arrived = ask_or_look(&w);
		now = sc_clock_now();
		if (arrived || now >= deadline)
			break;
		sc_stats_wait(Min(TimestampDifferenceMilliseconds(now, deadline) + 1, 500));
	}
	sc_stats_wait_end();
	MemoryContextSwitchTo(w.cx);
	MemoryContextDelete(look);
	PG_RETURN_BOOL(arrived);
}
