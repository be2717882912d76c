/*-------------------------------------------------------------------------
 *
 * worker.c
 *		One worker's life.
 *
 * It reads its unit from the catalog, asks the brokers where to begin, and
 * then goes round: take what has arrived, flush what is due, sleep at the
 * one waiting place.  It ends by exiting: on any error that is not a
 * rollup's own, and on any change of its unit.  The launcher starts the
 * next one, which goes on from what is committed.  librdkafka is never torn
 * down otherwise: rd_kafka_destroy() can hang after a topic was deleted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "arrivals.h"
#include "clock.h"
#include "compat.h"
#include "flush.h"
#include "guc.h"
#include "lock_wait.h"
#include "report.h"
#include "session.h"
#include "stall.h"
#include "stats.h"
#include "worker.h"
#include "worker_private.h"

/* Files with keys and certificates may be mended, and nobody tells. */
#define CLIENT_PAUSE_MS 5000
/*
 * Behind, flushes take no more than this part of the time, but come at least
 * this often.  Nothing is known of the first one: it is taken for a long one.
 */
#define FLUSH_SHARE 20
#define FLUSH_BEHIND_MS 10000
#define FIRST_FLUSH_TAKES 100

/* ---------------------------------------------------------------------
 * Ends
 * --------------------------------------------------------------------- */

static void
finish(ScWorker *w)
{
	if (OidIsValid(w->unit.rollup))
		sc_stats_clear_apart(w->unit.stream, w->unit.rollup);
	sc_stats_worker_finished();
	proc_exit(0);
}

/* ---------------------------------------------------------------------
 * Where it waits for something to do
 * --------------------------------------------------------------------- */

static void
make_wait_set(ScWorker *w)
{
	w->waits = sc_create_wait_event_set(w->cx, 3);
	AddWaitEventToSet(w->waits, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(w->waits, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
}

void
sc_worker_serve_interrupts(ScWorker *w)
{
	CHECK_FOR_INTERRUPTS();
	if (sc_session_reload() &&
		(strcmp(w->brokers, sc_bootstrap_servers) != 0 || w->fetch_mem != sc_fetch_mem))
		sc_unit_start_anew(DEBUG1, "a setting of the client was changed");
}

void
sc_worker_sleep(ScWorker *w, long timeout_ms)
{
	WaitEvent	event;

	WaitEventSetWait(w->waits, timeout_ms, &event, 1, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	sc_worker_serve_interrupts(w);
}

/* ---------------------------------------------------------------------
 * The loop
 * --------------------------------------------------------------------- */

static void
flush(ScWorker *w)
{
	ListCell   *lc;

	/* The next one is due an interval after this one began, not after its end. */
	w->flushed_at = sc_clock_now();
	if (!sc_flush(w->served, sc_worker_stale()))
		return;
	w->flush_took = TimestampDifferenceMilliseconds(w->flushed_at, sc_clock_now());
	sc_report_progress(w->served, w->end_answered);
	if (w->served->careful_done ||
		(w->served->careful > 0 && !sc_arrivals_behind(w->served)))
	{
		/* A halted partition may keep some of it: they are not to be waited for. */
		sc_stats_worker_set_careful(0);
		sc_unit_start_anew(DEBUG1, "the batch that had to be read carefully is committed");
	}
	foreach(lc, w->served->tasks)
	{
		ScTask	   *task = lfirst(lc);

		if (task->set_aside)
			sc_unit_start_anew(DEBUG1, "a rollup is halted or served apart");
		for (int i = 0; i < task->nparts; i++)
			if (task->parts[i].halt_reason)
				sc_unit_start_anew(DEBUG1, "a partition is halted");
	}
}

/*
 * A rollup that was served apart joins the others once it has caught up.  Under
 * load, messages come while the last ones are written: to the end of what was
 * there when the brokers last told is far enough.
 */
static bool
may_join(const ScWorker *w)
{
	if (!OidIsValid(w->unit.rollup) || !sc_stats_may_join(w->unit.stream))
		return false;
	for (int i = 0; i < w->served->npositions; i++)
	{
		const ScPosition *position = &w->served->positions[i];

		if (!position->at_end &&
			(position->high_watermark < 0 || position->next < position->high_watermark))
			return false;
	}
	return w->served->way->methods->messages(w->served->way) == 0;
}

/* Caught up, as often as it is set; behind, fewer and larger ones take less time. */
static int
flush_interval(const ScWorker *w)
{
	if (!sc_arrivals_behind(w->served))
		return sc_flush_interval;
	return Max(sc_flush_interval, Min(FLUSH_SHARE * w->flush_took, FLUSH_BEHIND_MS));
}

/* How long nothing will be due. */
static long
idle_time(const ScWorker *w, TimestampTz now)
{
	long		timeout = Min(sc_worker_look_due(w, now), sc_worker_recheck_interval(w));
	long		report_due = sc_report_due(now);

	if (sc_stall_looks(w->served))
		timeout = Min(timeout, SC_STALL_LOOK_MS + 1);
	if (report_due >= 0)
		timeout = Min(timeout, report_due);
	if (w->source != NULL && sc_stats_end_request() != w->end_answered)
		return SC_QUESTION_PAUSE_MS;
	if (sc_arrivals_pending(w->served))
	{
		TimestampTz due = TimestampTzPlusMilliseconds(w->flushed_at, flush_interval(w));

		timeout = Min(timeout, now >= due ? 0 : TimestampDifferenceMilliseconds(now, due) + 1);
	}
	return timeout;
}

static bool
flush_due(const ScWorker *w, TimestampTz now)
{
	return sc_arrivals_pending(w->served) &&
		(w->served->way->methods->full(w->served->way) ||
		 TimestampDifferenceExceeds(w->flushed_at, now, flush_interval(w)));
}

/* Once round: true when there may be more to take at once. */
static bool
turn(ScWorker *w)
{
	TimestampTz now;
	int			taken;
	bool		drained,
				lost;

	sc_worker_serve_interrupts(w);
	now = sc_clock_now();
	sc_worker_recheck(w, now);
	if (w->source == NULL)
		return false;
	/* In this order: taking drains the pipe that also tells of events. */
	taken = sc_arrivals_take(w->served, w->source, now, &drained);
	lost = sc_arrivals_events(w->served, w->source);
	if ((w->served->faulted || lost) && sc_arrivals_pending(w->served))
		flush(w);
	/* The unit may be another one by now: nothing was written. */
	if (w->served->faulted && sc_arrivals_pending(w->served))
		return true;
	if (w->served->faulted)
		sc_arrivals_meet_fault(w->served, w->source);
	/* Nobody knows what comes back: the next worker compares what it finds. */
	if (lost)
		sc_unit_start_anew(DEBUG1, "all brokers were lost");
	sc_worker_answer_wait(w);
	if (flush_due(w, now))
		flush(w);
	sc_worker_ask_around(w, now);
	if (sc_stall_watch(w->served, now) || sc_arrivals_refused_long(w->served, now))
	{
		/* Else the next worker would read all of it once more, and so on. */
		if (sc_arrivals_pending(w->served))
			flush(w);
		sc_unit_start_anew(DEBUG1, "what is not read is tried by a new client");
	}
	if (sc_report_due(now) == 0)
		sc_report_progress(w->served, w->end_answered);
	if (may_join(w))
		finish(w);
	return taken > 0 || !drained;
}

/* Try until there is a client: it may lack a password, or a file. */
static ScSource *
await_client(ScWorker *w)
{
	const ScStream *stream = w->served->stream;
	char		reason[SC_REASON_LEN];

	for (;;)
	{
		ScSource   *source = sc_source_try_open(stream, sc_arrivals_want_headers(stream),
												"streamcount", reason, sizeof(reason));

		if (source != NULL)
			return source;
		sc_report_state(w->served, SC_STATE_CONNECTING, reason);
		sc_worker_sleep(w, CLIENT_PAUSE_MS);
		sc_worker_recheck(w, sc_clock_now());
	}
}

static void
connect_source(ScWorker *w)
{
	ScServed   *served = w->served;

	w->source = await_client(w);
	AddWaitEventToSet(w->waits, WL_SOCKET_READABLE, sc_source_fd(w->source), NULL, NULL);
	served->topic_partitions = sc_worker_await_topic(w);
	sc_unit_resolve(served, w->source);
	sc_stall_load(served);
	sc_arrivals_ask_watermarks(served, w->source, SC_QUESTION_MS);
	sc_arrivals_assign(served, w->source);
	w->asked_at = sc_clock_now();
	/* Who could not tell them may have refused us. */
	if (sc_arrivals_events(served, w->source))
		sc_unit_start_anew(DEBUG1, "all brokers were lost");
	sc_report_progress(served, w->end_answered);
}

static void
run(ScWorker *w)
{
	make_wait_set(w);
	w->served = sc_unit_load(&w->unit, AllocSetContextCreate(w->cx, "streamcount unit",
															 ALLOCSET_DEFAULT_SIZES));
	if (w->served == NULL)
		finish(w);
	sc_worker_watch(w->served);
	w->rechecked_at = w->flushed_at = sc_clock_now();
	w->flush_took = FIRST_FLUSH_TAKES;
	if (w->served->tasks != NIL)
		connect_source(w);
	else if (OidIsValid(w->unit.rollup) && !w->served->restoring)
		finish(w);
	else
		sc_stats_worker_state(w->served->restoring ? SC_STATE_RESTORING : SC_STATE_IDLE, "");
	for (;;)
		if (!turn(w))
			sc_worker_sleep(w, idle_time(w, sc_clock_now()));
}

void
streamcount_worker_main(Datum arg)
{
	ScWorker		w = {0};

	sc_session_never_exit();
	sc_session_serve_signals();
	sc_stats_worker_attach(DatumGetInt32(arg), &w.unit);
	sc_session_force_settings();
	sc_lock_wait_begin();
	BackgroundWorkerInitializeConnectionByOid(w.unit.db, InvalidOid, 0);
	w.cx = AllocSetContextCreate(TopMemoryContext, "streamcount worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(w.cx);
	w.brokers = pstrdup(sc_bootstrap_servers);
	w.fetch_mem = sc_fetch_mem;
	sc_worker_watch_begin();
	PG_TRY();
	{
		run(&w);
	}
	PG_CATCH();
	{
		/* Leave the reason where the views find it, and end as any worker does. */
		ErrorData  *edata;

		MemoryContextSwitchTo(w.cx);
		edata = CopyErrorData();
		if (sc_flush_send_apart(&w.unit, w.served, edata))
		{
			FlushErrorState();
			sc_unit_start_anew(DEBUG1, "a rollup is served apart");
		}
		if (sc_stats_worker_failed(edata->sqlerrcode, edata->message))
			PG_RE_THROW();
		/* A full disk is one entry in the log, not one for each try. */
		FlushErrorState();
		proc_exit(0);
	}
	PG_END_TRY();
}
