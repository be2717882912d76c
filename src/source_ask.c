/*-------------------------------------------------------------------------
 *
 * source_ask.c
 *		Questions to the brokers, by a thread that may wait for the answer.
 *
 * librdkafka's own calls hear nothing until they are answered or their time
 * is over: short ones never hear of a broker that is far away, and with long
 * ones nobody could stop the process.  So a thread calls, which knows nothing
 * of PostgreSQL and touches only the question, and the process waits at its
 * latch.  There is one question at a time.  One that nobody waits for any
 * more goes on to its end: the next one comes after it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <poll.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "clock.h"
#include "source_internal.h"

/* So long a question may keep the process from messages that have arrived. */
#define MESSAGES_WAIT_MS 200
/* Older answers are of another time. */
#define AS_GOOD_MS 5000

static void
tell(int fd)
{
	/* A full pipe tells already. */
	while (write(fd, "a", 1) < 0 && errno == EINTR)
		 /* again */ ;
}

static void *
ask(void *arg)
{
	ScQuestion *q = arg;

	switch (q->kind)
	{
		case SC_ASK_METADATA:
			q->err = rd_kafka_metadata(q->rk, 0, q->topic, &q->metadata, q->timeout_ms);
			break;
		case SC_ASK_OFFSETS:
			q->err = rd_kafka_offsets_for_times(q->rk, q->list, q->timeout_ms);
			break;
		case SC_ASK_CLUSTER:
			q->cluster_id = rd_kafka_clusterid(q->rk, q->timeout_ms);
			break;
	}
	q->done_at = sc_clock_now();
	__atomic_store_n(&q->done, true, __ATOMIC_RELEASE);
	tell(q->answered);
	tell(q->arrived);
	return NULL;
}

static bool
is_done(const ScQuestion *q)
{
	return __atomic_load_n(&q->done, __ATOMIC_ACQUIRE);
}

/* Is the answer to an older question, which is done, as good as one to this? */
static bool
is_as_good(const ScQuestion *older, const ScQuestion *q)
{
	return older->kind == q->kind && q->kind != SC_ASK_OFFSETS &&
		older->err == RD_KAFKA_RESP_ERR_NO_ERROR &&
		!TimestampDifferenceExceeds(older->done_at, sc_clock_now(), AS_GOOD_MS);
}

static void
forget(ScQuestion *q)
{
	if (q->list != NULL)
		rd_kafka_topic_partition_list_destroy(q->list);
	if (q->metadata != NULL)
		rd_kafka_metadata_destroy(q->metadata);
	if (q->cluster_id != NULL)
		rd_kafka_mem_free(q->rk, q->cluster_id);
	free(q);
}

/* Serves interrupts.  The latch tells others than us, too: it is set again. */
static void
wait_at(int fd, TimestampTz until)
{
	long		left = TimestampDifferenceMilliseconds(sc_clock_now(), until);
	int			events = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE |
										   WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
										   fd, left, PG_WAIT_EXTENSION);

	if ((events & WL_LATCH_SET) == 0)
		return;
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static bool
is_readable(int fd)
{
	struct pollfd ready = {.fd = fd,.events = POLLIN};

	return poll(&ready, 1, 0) > 0;
}

/* Until the question under way is done, or its time, or the messages' patience, is over. */
static bool
await(ScSource *source, int timeout_ms)
{
	ScQuestion *q = source->question;
	TimestampTz begin = sc_clock_now();
	TimestampTz end = TimestampTzPlusMilliseconds(begin, timeout_ms);
	TimestampTz patience = TimestampTzPlusMilliseconds(begin, Min(timeout_ms, MESSAGES_WAIT_MS));
	TimestampTz now = begin;

	if (source->assigned == NULL || source->patient)
		patience = end;
	while (!is_done(q) && now < patience)
	{
		wait_at(source->answered[0], patience);
		now = sc_clock_now();
	}
	while (!is_done(q) && now < end && !is_readable(source->pipe[0]))
	{
		wait_at(source->pipe[0], end);
		now = sc_clock_now();
	}
	SetLatch(MyLatch);
	return is_done(q);
}

void
sc_source_be_patient(ScSource *source)
{
	source->patient = true;
}

/* The question that is done; it is the caller's to give back. */
static ScQuestion *
take(ScSource *source)
{
	ScQuestion *q = source->question;

	pthread_join(q->thread, NULL);
	source->question = NULL;
	sc_source_drain(source->answered[0]);
	return q;
}

ScQuestion *
sc_source_question(ScSource *source, ScQuestionKind kind, int timeout_ms)
{
	ScQuestion *q = calloc(1, sizeof(ScQuestion));

	if (q == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	q->kind = kind;
	q->rk = source->rk;
	q->topic = source->topic;
	q->answered = source->answered[1];
	q->arrived = source->pipe[1];
	q->timeout_ms = timeout_ms;
	return q;
}

ScQuestion *
sc_source_ask(ScSource *source, ScQuestion *q, int timeout_ms)
{
	sigset_t	before;
	bool		started;

	if (source->question != NULL)
	{
		bool		done;

		/* An ERROR leaves it to whoever closes the source. */
		source->next_question = q;
		/* Looked at once: it may be done a moment later. */
		done = await(source, timeout_ms);
		source->next_question = NULL;
		if (!done || is_as_good(source->question, q))
		{
			forget(q);
			return done ? take(source) : NULL;
		}
		forget(take(source));
	}
	before = sc_source_block_signals();
	started = pthread_create(&q->thread, NULL, ask, q) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!started)
	{
		forget(q);
		return NULL;
	}
	source->question = q;
	return await(source, timeout_ms) ? take(source) : NULL;
}

void
sc_source_pause(TimestampTz asked_at)
{
	sc_clock_wait_until(TimestampTzPlusMilliseconds(asked_at, SC_QUESTION_PAUSE_MS));
}

void
sc_source_answered(ScQuestion *q)
{
	forget(q);
}
