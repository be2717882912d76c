/*-------------------------------------------------------------------------
 *
 * report.c
 *		What a worker shows of itself: states, positions, answers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "report.h"

/* Arrivals within this time make a partition "running". */
#define RUNNING_MS 2000

/* The offsets of a topic that was made a moment ago may be told a moment later. */
#define BEGIN_PATIENCE_MS 3000

/* So long it may take a broker to refuse us once more. */
#define REFUSE_PATIENCE_MS 15000

static ScState last_state = SC_STATE_DOWN;
static TimestampTz reported_at = 0;

void
sc_report_state(const ScServed *served, ScState state, const char *reason)
{
	ScState		trouble = sc_stats_worker_trouble();

	sc_stats_worker_state(state, reason);
	if (sc_state_needs_look(state) && state != trouble)
		ereport(LOG,
				(errmsg("stream %s is %s: %s", served->stream->name, sc_state_name(state), reason),
				 errhint("It goes on by itself as soon as that has changed.")));
	else if (!sc_state_needs_look(state) && trouble != SC_STATE_DOWN)
		ereport(LOG,
				(errmsg("stream %s is %s again", served->stream->name, sc_state_name(state))));
	last_state = state;
}

void
sc_report_denied(const ScServed *served)
{
	char		reason[SC_REASON_LEN];

	snprintf(reason, sizeof(reason), "access to Kafka topic \"%s\" was denied",
			 served->stream->topic);
	sc_report_state(served, SC_STATE_STALLED, reason);
}

bool
sc_report_in_trouble(void)
{
	return sc_stats_worker_trouble() != SC_STATE_DOWN;
}

/*
 * What was busy when it was last shown may be idle by now: in how many
 * milliseconds to show it again, or -1.
 */
long
sc_report_due(TimestampTz now)
{
	if (last_state != SC_STATE_RUNNING && last_state != SC_STATE_CATCHING_UP)
		return -1;
	return Max(0, RUNNING_MS + 1 - TimestampDifferenceMilliseconds(reported_at, now));
}

static ScState
present_state(const ScPosition *position, TimestampTz now)
{
	if (position->stalled)
		return SC_STATE_STALLED;
	if (!position->at_end && position->high_watermark > position->next)
		return SC_STATE_CATCHING_UP;
	if (!TimestampDifferenceExceeds(position->moved_at, now, RUNNING_MS))
		return SC_STATE_RUNNING;
	/* Of one that starts behind the end, none is told. */
	if ((position->at_end || position->next > position->high_watermark) && position->open_end > position->next)
		return SC_STATE_WAITING;
	return SC_STATE_IDLE;
}

static ScState
state_of(ScPosition *position, TimestampTz now)
{
	ScState		state = present_state(position, sc_clock_now());

	if (state != position->state || position->since == 0)
		position->since = position->stalled ? position->stall.since : now;
	position->state = state;
	return state;
}

static void
explain_waiting(const ScPosition *position, char *reason)
{
	snprintf(reason, SC_REASON_LEN,
			 "a transaction is open: messages from offset " INT64_FORMAT " to before " INT64_FORMAT " wait for its end",
			 position->next, position->open_end);
}

static void
put_part(const ScServed *served, const ScTask *task, const ScPart *part,
		 uint64 end_request, TimestampTz now)
{
	ScPosition *position = sc_unit_position(served, part->partition);
	ScLive		live;

	memset(&live, 0, sizeof(live));
	live.db = MyDatabaseId;
	live.rollup = task->rollup->relid;
	live.partition = part->partition;
	live.next_offset = part->next;
	live.last_message_ms = part->last_ms;
	live.high_watermark = position ? position->high_watermark : -1;
	live.low_watermark = position ? position->low_watermark : -1;
	live.checked_at = position ? position->checked_at : 0;
	live.state = position ? state_of(position, now) : SC_STATE_IDLE;
	live.since = position ? position->since : now;
	if (live.state == SC_STATE_WAITING)
		explain_waiting(position, live.reason);
	if (position && position->stalled)
		sc_stats_put_reason(live.reason, position->stall.reason);
	live.end_request = end_request;
	live.end_offset = position ? position->asked_end : part->next;
	sc_stats_live_put(&live);
}

static bool
is_late_to_begin(const ScServed *served)
{
	return TimestampDifferenceExceeds(served->loaded_at, sc_clock_now(), BEGIN_PATIENCE_MS);
}

/*
 * A partition that a rollup has not begun has no end that is known: who waits
 * for all of them is not answered.
 */
static void
put_not_begun(const ScServed *served, const ScTask *task)
{
	ScLive		live = {.db = MyDatabaseId,.rollup = task->rollup->relid,.state = SC_STATE_CONNECTING,
		.since = task->not_begun_since,.next_offset = -1,.high_watermark = -1,.low_watermark = -1,
	.last_message_ms = -1};

	if (is_late_to_begin(served))
	{
		live.state = SC_STATE_STALLED;
		sc_stats_put_reason(live.reason, task->not_begun);
	}
	for (int p = 0; p < served->topic_partitions; p++)
	{
		if (sc_task_part(task, p) != NULL)
			continue;
		live.partition = p;
		sc_stats_live_put(&live);
	}
}

/* Nothing is read, since nothing has begun: why; else NULL. */
static const char *
waits_to_begin(const ScServed *served)
{
	ListCell   *lc;

	if (served->npositions > 0)
		return NULL;
	foreach(lc, served->tasks)
	{
		const ScTask *task = lfirst(lc);

		if (task->not_begun)
			return task->not_begun;
	}
	return NULL;
}

/*
 * Brokers that lead some of it refuse us.  What was so before this worker is
 * so until the watermarks are told, or there was time to be refused again.
 */
static bool
is_kept_out(const ScServed *served)
{
	return !served->told &&
		(served->refusal[0] != '\0' ||
		 (sc_stats_worker_trouble() == SC_STATE_CONNECTING &&
		  !TimestampDifferenceExceeds(served->loaded_at, sc_clock_now(), REFUSE_PATIENCE_MS)));
}

static bool
is_denied(const ScServed *served)
{
	for (int i = 0; i < served->npositions; i++)
		if (served->positions[i].denied)
			return true;
	return false;
}

static ScState
summary(const ScServed *served, TimestampTz now, char *reason)
{
	ScState		sum = SC_STATE_IDLE;

	for (int i = 0; i < served->npositions; i++)
	{
		ScState		state = state_of(&served->positions[i], now);

		if (state == SC_STATE_CATCHING_UP)
			return state;
		if (state == SC_STATE_RUNNING)
			sum = state;
		if (state == SC_STATE_WAITING && sum == SC_STATE_IDLE)
		{
			explain_waiting(&served->positions[i], reason);
			sum = state;
		}
	}
	return sum;
}

void
sc_report_progress(const ScServed *served, uint64 end_request)
{
	TimestampTz now = GetCurrentTimestamp();
	char		reason[SC_REASON_LEN];
	const char *waits;
	ScState		sum;
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);

		for (int i = 0; i < task->nparts; i++)
			put_part(served, task, &task->parts[i], end_request, now);
		if (task->not_begun)
			put_not_begun(served, task);
	}
	if (is_denied(served))
		sc_report_denied(served);
	else if (is_kept_out(served))
	{
		if (served->refusal[0] != '\0')
			sc_report_state(served, SC_STATE_CONNECTING, served->refusal);
	}
	else if ((waits = waits_to_begin(served)) != NULL)
	{
		if (is_late_to_begin(served))
			sc_report_state(served, SC_STATE_STALLED, waits);
	}
	else
	{
		sum = summary(served, now, reason);
		sc_report_state(served, sum, sum == SC_STATE_WAITING ? reason : "");
	}
	reported_at = sc_clock_now();
	sc_stats_broadcast();
}
