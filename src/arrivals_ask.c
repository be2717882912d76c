/*-------------------------------------------------------------------------
 *
 * arrivals_ask.c
 *		How far the partitions of a unit go, by what the brokers say.
 *
 * One question is for all of them, and one partition that nobody can tell
 * about would leave it unanswered.  So those that no broker leads are left
 * out: what is known of them stays what it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "arrivals.h"
#include "clock.h"

/* librdkafka says the same again after half a minute: what it does not, is over. */
#define REFUSAL_LASTS_MS 90000

static void
note_leaders(ScServed *served, ScSource *source)
{
	served->leaderless = false;
	for (int i = 0; i < served->npositions; i++)
	{
		ScPosition *position = &served->positions[i];
		bool		led = sc_source_is_led(source, position->partition);

		/* From now on its silence is its own. */
		if (led && position->leaderless)
			position->behind_since = 0;
		position->leaderless = !led;
		served->leaderless |= !led;
	}
}

/* The offsets of those that are led, by position. */
static bool
ask(ScServed *served, ScSource *source, int64 what, int64 *offsets, int timeout_ms)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(served->npositions, 1));
	const char *error = NULL;
	int			n = 0;
	bool		answered;

	for (int i = 0; i < served->npositions; i++)
		if (!served->positions[i].leaderless)
			partitions[n++] = served->positions[i].partition;
	answered = n > 0 &&
		sc_source_offsets(source, n, partitions, what, offsets, timeout_ms, &error);
	for (int i = served->npositions - 1; answered && i >= 0; i--)
		if (!served->positions[i].leaderless)
			offsets[i] = offsets[--n];
	pfree(partitions);
	return answered;
}

static bool
ask_ends(ScServed *served, ScSource *source, int timeout_ms)
{
	int64	   *ends = palloc(sizeof(int64) * Max(served->npositions, 1));
	bool		answered = ask(served, source, SC_OFFSET_LATEST, ends, timeout_ms);

	for (int i = 0; answered && i < served->npositions; i++)
	{
		ScPosition *position = &served->positions[i];

		if (position->leaderless)
			continue;
		position->asked_end = position->high_watermark = ends[i];
		position->open_end = sc_source_high_watermark(source, position->partition);
		position->checked_at = GetCurrentTimestamp();
	}
	pfree(ends);
	return answered;
}

bool
sc_arrivals_ask_ends(ScServed *served, ScSource *source, int timeout_ms)
{
	note_leaders(served, source);
	return !served->leaderless && ask_ends(served, source, timeout_ms);
}

/*
 * Without its oldest offset a partition may be assigned where there is nothing
 * any more, which a new start alone would not mend.
 */
static void
ask_unknown_lows(ScServed *served, ScSource *source, int timeout_ms)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(served->npositions, 1));
	int64	   *lows = palloc(sizeof(int64) * Max(served->npositions, 1));
	int			n = 0;

	for (int i = 0; i < served->npositions; i++)
		if (!served->positions[i].leaderless && served->positions[i].low_watermark < 0)
			partitions[n++] = served->positions[i].partition;
	sc_source_offsets_alone(source, n, partitions, SC_OFFSET_EARLIEST, lows, timeout_ms);
	for (int i = 0; i < n; i++)
		sc_unit_position(served, partitions[i])->low_watermark = lows[i];
	pfree(partitions);
	pfree(lows);
}

/* Is there something to be asked for? */
static bool
is_asked_for(const ScServed *served)
{
	for (int i = 0; i < served->npositions; i++)
		if (!served->positions[i].leaderless)
			return true;
	return served->not_begun;
}

bool
sc_arrivals_ask_watermarks(ScServed *served, ScSource *source, int timeout_ms)
{
	int64	   *lows = palloc(sizeof(int64) * Max(served->npositions, 1));
	bool		answered;

	note_leaders(served, source);
	served->told = !is_asked_for(served);
	if (TimestampDifferenceExceeds(served->refused_at, sc_clock_now(), REFUSAL_LASTS_MS))
		served->refusal[0] = '\0';
	answered = ask(served, source, SC_OFFSET_EARLIEST, lows, timeout_ms);
	for (int i = 0; answered && i < served->npositions; i++)
		if (!served->positions[i].leaderless)
			served->positions[i].low_watermark = lows[i];
	pfree(lows);
	if (!answered)
		ask_unknown_lows(served, source, timeout_ms);
	if (!answered || !ask_ends(served, source, timeout_ms))
		return false;
	served->told = true;
	served->refusal[0] = '\0';
	sc_arrivals_check_ends(served);
	return true;
}
