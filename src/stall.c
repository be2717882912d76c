/*-------------------------------------------------------------------------
 *
 * stall.c
 *		Partitions that stand still although there is something to come.
 *
 * Some faults of a batch or a broker give no event at all, and after others
 * librdkafka's position cannot be trusted.  So silence is measured against
 * what the brokers say is there, and what has failed is tried again by a new
 * worker.  That nothing came from a partition, at which offset and how often
 * already, stands in the shared memory: the next worker goes on showing it,
 * lets the partition rest while it reads the others, and says nothing in the
 * log that was said before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "clock.h"
#include "guc.h"
#include "stall.h"

/*
 * Silence for two thirds of metadata_interval is a stall.  The look that
 * finds messages to come can be an interval late, so that by default a stall
 * is shown within 50 s.
 */
#define LEAST_SILENCE_MS 5000
/* A new worker is started after so many times as long; each time it doubles. */
#define RESTART_SILENCES 3
#define MOST_DOUBLINGS 2
/* The wire's fault is gone at once; after these tries there are rests. */
#define QUICK_TRIES 3
#define REST_FIRST_MS 1000
#define REST_MOST_MS 30000
/*
 * What one broker leads comes in one response: where one partition's part of
 * it never comes, those beside it are read only while that one rests.  They
 * look like it, so that after the quick tries one at a time is tried alone.
 */
#define SILENT_QUICK_TRIES 1
#define SILENT_REST_FIRST_MS 30000
#define SILENT_REST_MOST_MS 120000

static long
silence_ms(void)
{
	return Max(LEAST_SILENCE_MS, sc_metadata_interval * 1000L * 2 / 3);
}

/* When to read a partition again after so many tries; 0: at once. */
static TimestampTz
end_of_rest(int tries, int quick_tries, int first_ms, int most_ms)
{
	if (tries <= quick_tries)
		return 0;
	return TimestampTzPlusMilliseconds(sc_clock_now(),
									   Min(most_ms, first_ms << Min(tries - quick_tries - 1, 10)));
}

/* While a partition rests, what was read of it last is not met again. */
static void
exchange_last_ms(const ScServed *served, ScStall *stall)
{
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScPart	   *part = sc_task_part(lfirst(lc), stall->partition);

		if (part != NULL && part->next == stall->offset)
			part->last_ms = stall->last_ms = Max(part->last_ms, stall->last_ms);
	}
}

/* For the next worker of the unit; true when there was room for all of them. */
static bool
remember(const ScServed *served)
{
	ScStall		stalls[SC_MAX_STALLS];
	int			n = 0;
	int			all = 0;

	for (int i = 0; i < served->npositions; i++)
	{
		if (!served->positions[i].stalled)
			continue;
		exchange_last_ms(served, &served->positions[i].stall);
		if (n < SC_MAX_STALLS)
			stalls[n++] = served->positions[i].stall;
		all++;
	}
	sc_stats_worker_set_stalls(n, stalls);
	return n == all;
}

static bool
rests_in_silence(const ScPosition *position)
{
	return sc_stall_rests(position) && position->stall.silent;
}

static void
let_rest(ScServed *served, TimestampTz retry_at)
{
	for (int i = 0; i < served->npositions; i++)
		if (rests_in_silence(&served->positions[i]))
			served->positions[i].stall.retry_at = retry_at;
}

/*
 * Of those whose rest is over, the one that was tried least is read, and the
 * others rest until its turn has ended; but not for ever, whatever becomes of it.
 */
static void
begin_turn(ScServed *served, TimestampTz now)
{
	ScPosition *next = NULL;

	for (int i = 0; i < served->npositions; i++)
	{
		ScPosition *position = &served->positions[i];

		if (rests_in_silence(position) && position->stall.retry_at <= now &&
			(next == NULL || position->stall.tries < next->stall.tries))
			next = position;
	}
	if (next == NULL)
		return;
	let_rest(served,
			 TimestampTzPlusMilliseconds(now, 2 * (silence_ms() * RESTART_SILENCES << MOST_DOUBLINGS)));
	next->stall.retry_at = 0;
}

/* One that is tried alone, after a rest. */
static bool
has_turn(const ScPosition *position)
{
	return position->stalled && position->stall.silent && position->stall.retry_at == 0 &&
		position->stall.tries > SILENT_QUICK_TRIES;
}

/* Nothing can be said of the silence of others meanwhile. */
static bool
other_has_turn(const ScServed *served, const ScPosition *than)
{
	for (int i = 0; i < served->npositions; i++)
		if (&served->positions[i] != than && has_turn(&served->positions[i]))
			return true;
	return false;
}

void
sc_stall_load(ScServed *served)
{
	ScStall		stalls[SC_MAX_STALLS];
	int			n = sc_stats_worker_stalls(stalls);
	TimestampTz now = sc_clock_now();

	for (int i = 0; i < n; i++)
	{
		ScPosition *position = sc_unit_position(served, stalls[i].partition);

		/* Moved by skip_to(), or not to be read any more */
		if (position == NULL || position->next != stalls[i].offset)
			continue;
		position->stalled = true;
		position->stall = stalls[i];
		if (position->stall.retry_at <= now && !position->stall.silent)
			position->stall.retry_at = 0;
	}
	begin_turn(served, now);
	(void) remember(served);
}

bool
sc_stall_rests(const ScPosition *position)
{
	return position->stalled && position->stall.retry_at != 0;
}

/* Of many partitions that stall at a time, the first ones are logged. */
static void
begin(ScServed *served, ScPosition *position, const char *reason)
{
	ScStall    *stall = &position->stall;
	bool		known = position->stalled;

	if (!known)
	{
		memset(stall, 0, sizeof(*stall));
		stall->partition = position->partition;
		stall->offset = position->next;
		stall->last_ms = -1;
		stall->since = GetCurrentTimestamp();
	}
	sc_stats_put_reason(stall->reason, reason);
	position->stalled = true;
	if (remember(served) && !known)
		ereport(LOG,
				(errmsg("partition %d of stream %s is stalled: %s", position->partition,
						served->stream->name, reason),
				 errhint("It goes on by itself as soon as that has changed.")));
}

void
sc_stall_fail(ScServed *served, ScPosition *position, const char *reason, bool broken)
{
	begin(served, position, reason);
	position->stall.broken = broken ? position->stall.broken + 1 : 0;
	position->stall.silent = false;
	position->stall.retry_at = end_of_rest(++position->stall.tries, QUICK_TRIES,
										   REST_FIRST_MS, REST_MOST_MS);
	(void) remember(served);
	sc_unit_start_anew(DEBUG1, "a partition could not be read");
}

void
sc_stall_end(ScServed *served, ScPosition *position)
{
	position->behind_since = 0;
	if (!position->stalled)
		return;
	/* What was mended may be mended for all. */
	if (has_turn(position))
		let_rest(served, sc_clock_now());
	position->stalled = false;
	(void) remember(served);
	ereport(LOG,
			(errmsg("partition %d of stream %s is no longer stalled", position->partition,
					served->stream->name)));
}

static void
begin_silence(ScServed *served, ScPosition *position)
{
	bool		has_cause = served->trouble_at > position->moved_at;

	begin(served, position,
		  psprintf("nothing comes from offset " INT64_FORMAT " on, and the partition ends at " INT64_FORMAT "%s%s",
				   position->next, position->high_watermark,
				   has_cause ? ": " : "", has_cause ? served->trouble : ""));
}

/* It has an end that nobody can tell; a new worker could not either. */
static void
watch_leaderless(ScServed *served, ScPosition *position, TimestampTz now)
{
	if (position->behind_since == 0)
		position->behind_since = now;
	if (!position->stalled &&
		TimestampDifferenceExceeds(position->behind_since, now, silence_ms()))
		begin(served, position, "no broker leads it");
}

/* It was silent for long. */
static void
end_try(ScServed *served, ScPosition *position)
{
	ScStall    *stall = &position->stall;
	int			least = ++stall->tries;

	/* Those that were tried less are not to wait for longer than for their own rest. */
	for (int i = 0; i < served->npositions; i++)
		if (rests_in_silence(&served->positions[i]))
			least = Min(least, served->positions[i].stall.tries);
	stall->broken = 0;
	stall->silent = true;
	stall->retry_at = end_of_rest(least, SILENT_QUICK_TRIES,
								  SILENT_REST_FIRST_MS, SILENT_REST_MOST_MS);
	/* Its turn has ended: those that wait for theirs rest as long as it does. */
	if (stall->retry_at != 0)
		let_rest(served, stall->retry_at);
}

/* True when a new worker is to try. */
static bool
watch_position(ScServed *served, ScPosition *position, TimestampTz now)
{
	int			tries = position->stalled ? position->stall.tries : 0;

	if (sc_stall_rests(position))
		return now >= position->stall.retry_at;
	if (position->leaderless)
	{
		watch_leaderless(served, position, now);
		return false;
	}
	if (position->high_watermark <= position->next || position->denied)
	{
		if (position->at_end)
			sc_stall_end(served, position);
		position->behind_since = 0;
		return false;
	}
	if (position->behind_since == 0)
		position->behind_since = now;
	/* Alone it begins anew. */
	if (has_turn(position))
		tries -= SILENT_QUICK_TRIES + 1;
	if (!position->stalled &&
		TimestampDifferenceExceeds(position->behind_since, now, silence_ms()))
		begin_silence(served, position);
	if (!position->stalled || other_has_turn(served, position) ||
		!TimestampDifferenceExceeds(position->behind_since, now,
									silence_ms() * RESTART_SILENCES << Min(tries, MOST_DOUBLINGS)))
		return false;
	end_try(served, position);
	return true;
}

bool
sc_stall_watch(ScServed *served, TimestampTz now)
{
	bool		start_anew = false;

	if (!TimestampDifferenceExceeds(served->watched_at, now, SC_STALL_LOOK_MS))
		return false;
	served->watched_at = now;
	for (int i = 0; i < served->npositions; i++)
		start_anew |= watch_position(served, &served->positions[i], now);
	if (start_anew)
		(void) remember(served);
	return start_anew;
}

bool
sc_stall_looks(const ScServed *served)
{
	for (int i = 0; i < served->npositions; i++)
		if (served->positions[i].stalled || served->positions[i].behind_since != 0)
			return true;
	return false;
}

void
sc_stall_forgive(ScServed *served)
{
	for (int i = 0; i < served->npositions; i++)
		served->positions[i].behind_since = 0;
}
