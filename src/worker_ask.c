/*-------------------------------------------------------------------------
 *
 * worker_ask.c
 *		What a worker asks the brokers, and what it makes of no answer.
 *
 * Is the topic there, with how many partitions, and how far do they go?  A
 * broker that is away, busy or starting answers late, wrongly or never: so
 * one answer is not believed at once, and no answer is not waited for for
 * ever.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "arrivals.h"
#include "clock.h"
#include "guc.h"
#include "report.h"
#include "stall.h"
#include "starts.h"
#include "stats.h"
#include "worker_private.h"

/* So many times missing is missing: a topic, or some of its partitions. */
#define MISSING 4
/* So many in a row: the brokers are not there.  One can be lost on a busy day. */
#define UNANSWERED 3
/* But where messages came until now, answers may only have to stand in line, so long. */
#define IN_LINE_MS 15000
/* A question that is never answered keeps all later ones waiting: a new worker asks anew. */
#define MUTE_MS 45000
/* While they are not there, they are asked this often, */
#define AWAY_MS 1000
/* and this often while some of them refuse us, since the others are there. */
#define PARTLY_AWAY_MS 5000

static void
show_trouble(ScWorker *w, ScTopicAnswer answer, const char *error)
{
	const char *topic = w->served->stream->topic;
	char		reason[SC_REASON_LEN];

	switch (answer)
	{
		case SC_TOPIC_MISSING:
			/* A broker that has just started may not know its topics yet. */
			if (++w->missing < MISSING)
				break;
			sc_starts_note_missing(w->served, w->source);
			snprintf(reason, sizeof(reason), "Kafka topic \"%s\" does not exist", topic);
			sc_report_state(w->served, SC_STATE_STALLED, reason);
			break;
		case SC_TOPIC_DENIED:
			sc_report_denied(w->served);
			break;
		default:
			/* A broker that only is silent causes no event. */
			if (w->unanswered >= UNANSWERED)
				sc_report_state(w->served, SC_STATE_CONNECTING,
								error ? error : "no broker answers");
	}
}

static ScTopicAnswer
ask_topic(ScWorker *w, int *npartitions, const char **error)
{
	ScTopicAnswer answer = sc_source_partitions(w->source, npartitions, SC_QUESTION_MS,
												w->mute_since != 0 ? IN_LINE_MS : SC_QUESTION_MS, error);
	TimestampTz now = sc_clock_now();
	bool		in_line = !TimestampDifferenceExceeds(w->served->arrived_at, now, IN_LINE_MS);

	if (answer != SC_TOPIC_NO_ANSWER)
		w->unanswered = 0;
	else if (!in_line)
		w->unanswered++;
	if (answer != SC_TOPIC_NO_ANSWER || !in_line)
		w->mute_since = 0;
	else if (w->mute_since == 0)
		w->mute_since = now;
	else if (TimestampDifferenceExceeds(w->mute_since, now, MUTE_MS))
		sc_unit_start_anew(LOG, "the brokers send messages, and no answers");
	return answer;
}

/* Does a broker tell less than what was read before?  One that was away may. */
static bool
knows_less(ScWorker *w, int npartitions)
{
	int			known = w->served->topic_partitions;
	ListCell   *lc;

	foreach(lc, w->served->tasks)
	{
		const ScRollup *rollup = ((ScTask *) lfirst(lc))->rollup;

		for (int i = 0; i < rollup->nprogress; i++)
			if (!rollup->progress[i].halted)
				known = Max(known, rollup->progress[i].partition + 1);
	}
	if (npartitions >= known)
		w->fewer = 0;
	else
		w->fewer++;
	return w->fewer > 0 && w->fewer < MISSING;
}

int
sc_worker_await_topic(ScWorker *w)
{
	for (;;)
	{
		const char *error = NULL;
		int			npartitions = 0;
		TimestampTz asked_at = sc_clock_now();
		ScTopicAnswer answer;

		sc_worker_serve_interrupts(w);
		sc_worker_recheck(w, sc_clock_now());
		answer = ask_topic(w, &npartitions, &error);
		if (answer == SC_TOPIC_FOUND && npartitions > 0 && !knows_less(w, npartitions))
			return npartitions;
		sc_arrivals_events(w->served, w->source);
		show_trouble(w, answer, error);
		sc_source_pause(asked_at);
	}
}

void
sc_worker_answer_wait(ScWorker *w)
{
	uint64		request = sc_stats_end_request();

	/* Nor is there room for another question while one stands in line. */
	if (request == w->end_answered || w->mute_since != 0)
		return;
	if (!TimestampDifferenceExceeds(w->ends_missed_at, sc_clock_now(), SC_QUESTION_PAUSE_MS))
		return;
	if (w->served->npositions > 0 &&
		!sc_arrivals_ask_ends(w->served, w->source, SC_QUESTION_MS))
	{
		w->ends_missed_at = sc_clock_now();
		return;
	}
	w->end_answered = request;
	sc_report_progress(w->served, w->end_answered);
}

static long
look_interval(const ScWorker *w)
{
	if (w->served->refusal[0] != '\0' && sc_report_in_trouble())
		return Min(PARTLY_AWAY_MS, sc_metadata_interval * 1000L);
	if (sc_report_in_trouble() || w->served->refusal[0] != '\0' || w->served->leaderless || w->served->not_begun ||
		w->served->end_unknown || w->fewer > 0 || w->mute_since != 0)
		return AWAY_MS;
	return w->unanswered > 0 ? SC_QUESTION_PAUSE_MS : sc_metadata_interval * 1000L;
}

/*
 * What wakes us puts off no look.  But a look takes its time where nobody
 * answers, and then the next one does not follow at once.
 */
long
sc_worker_look_due(const ScWorker *w, TimestampTz now)
{
	long		interval = look_interval(w);

	if (w->source == NULL)
		return interval;
	return Max(interval + 1 - TimestampDifferenceMilliseconds(w->asked_at, now),
			   Min(interval, AWAY_MS));
}

void
sc_worker_ask_around(ScWorker *w, TimestampTz now)
{
	const char *error = NULL;
	int			npartitions = 0;
	ScTopicAnswer answer;

	if (!TimestampDifferenceExceeds(w->asked_at, now, look_interval(w)))
		return;
	w->asked_at = now;
	answer = ask_topic(w, &npartitions, &error);
	if (answer == SC_TOPIC_MISSING || answer == SC_TOPIC_DENIED)
	{
		show_trouble(w, answer, error);
		sc_unit_start_anew(DEBUG1, "the topic is gone");
	}
	if (answer == SC_TOPIC_NO_ANSWER)
	{
		sc_stall_forgive(w->served);
		show_trouble(w, answer, error);
		return;
	}
	if (knows_less(w, npartitions))
		return;
	if (npartitions != w->served->topic_partitions)
		sc_unit_start_anew(DEBUG1, "the topic has another number of partitions");
	if (sc_starts_begin_rest(w->served, w->source))
		sc_unit_start_anew(DEBUG1, "what had to wait for its offsets is begun");
	if (sc_arrivals_ask_watermarks(w->served, w->source, SC_QUESTION_MS))
		sc_arrivals_look_back(w->served, w->source, false);
	sc_report_progress(w->served, w->end_answered);
}
