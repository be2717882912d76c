/*-------------------------------------------------------------------------
 *
 * source_query.c
 *		Questions to the brokers: partitions, offsets, the cluster's id.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "source_internal.h"

/* One that is not answered must not take all of the time. */
#define ALONE_SHARE 3

static bool
fail(ScSource *source, const char **error, const char *text)
{
	strlcpy(source->error, text, sizeof(source->error));
	*error = source->error;
	return false;
}

static ScTopicAnswer
answer_of(ScSource *source, const rd_kafka_metadata_topic_t *topic,
		  const char **error)
{
	if (topic->err == RD_KAFKA_RESP_ERR_NO_ERROR && topic->partition_cnt > 0)
		return SC_TOPIC_FOUND;

	(void) fail(source, error, topic->err == RD_KAFKA_RESP_ERR_NO_ERROR ?
				"the topic has no partitions yet" : rd_kafka_err2str(topic->err));
	if (sc_source_is_missing(topic->err))
		return SC_TOPIC_MISSING;
	if (topic->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
		return SC_TOPIC_DENIED;
	return SC_TOPIC_NO_ANSWER;
}

static void
note_leaders(ScSource *source, const rd_kafka_metadata_topic_t *topic)
{
	MemoryContext old = MemoryContextSwitchTo(source->cx);

	bms_free(source->leaderless);
	source->leaderless = NULL;
	for (int i = 0; i < topic->partition_cnt; i++)
		if (topic->partitions[i].leader < 0)
			source->leaderless = bms_add_member(source->leaderless, topic->partitions[i].id);
	MemoryContextSwitchTo(old);
}

static const char *const NO_ANSWER = "no broker has answered";

ScTopicAnswer
sc_source_partitions(ScSource *source, int *npartitions, int timeout_ms,
					 int last_ms, const char **error)
{
	ScQuestion *q = sc_source_ask(source, sc_source_question(source, SC_ASK_METADATA, last_ms),
								  timeout_ms);
	ScTopicAnswer answer = SC_TOPIC_NO_ANSWER;

	if (q == NULL || q->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		/* "Broker transport failure" alone would not say why. */
		(void) fail(source, error, source->trouble[0] != '\0' ? source->trouble :
					q ? rd_kafka_err2str(q->err) : NO_ANSWER);
	else if (q->metadata->topic_cnt == 1)
	{
		source->trouble[0] = '\0';
		answer = answer_of(source, &q->metadata->topics[0], error);
		*npartitions = q->metadata->topics[0].partition_cnt;
		note_leaders(source, &q->metadata->topics[0]);
	}
	else
		(void) fail(source, error, "the brokers' answer does not name the topic");
	if (q != NULL)
		sc_source_answered(q);
	return answer;
}

bool
sc_source_is_led(ScSource *source, int32 partition)
{
	return !bms_is_member(partition, source->leaderless);
}

/* One answer for each partition: for a time, or for -1 or -2 in its place. */
static bool
ask_offsets(ScSource *source, int n, const int32 *partitions, int64 timestamp_ms,
			int64 *offsets, int timeout_ms, const char **error)
{
	const char *topic = rd_kafka_topic_name(source->topic);
	ScQuestion *q = sc_source_question(source, SC_ASK_OFFSETS, timeout_ms);
	rd_kafka_resp_err_t err;

	q->list = rd_kafka_topic_partition_list_new(n);
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(q->list, topic, partitions[i])->offset =
			timestamp_ms;
	q = sc_source_ask(source, q, timeout_ms);
	if (q == NULL)
		return fail(source, error, NO_ANSWER);
	err = q->err;
	for (int i = 0; i < n && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
	{
		err = q->list->elems[i].err;
		offsets[i] = q->list->elems[i].offset;
		/* "No message since then" is an answer to a time alone. */
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR && timestamp_ms < 0 && offsets[i] < 0)
			err = RD_KAFKA_RESP_ERR__NO_OFFSET;
	}
	sc_source_answered(q);
	return err == RD_KAFKA_RESP_ERR_NO_ERROR ||
		fail(source, error, rd_kafka_err2str(err));
}

/*
 * For a time, the ends are asked first: if they were asked after "no message
 * since then", a message that came in between would be left out.
 */
bool
sc_source_offsets(ScSource *source, int n, const int32 *partitions,
				  int64 timestamp_ms, int64 *offsets, int timeout_ms,
				  const char **error)
{
	int64	   *found;
	bool		ok;
	instr_time	begin;
	instr_time	now;

	if (timestamp_ms < 0)
		return ask_offsets(source, n, partitions, timestamp_ms, offsets,
						   timeout_ms, error);

	INSTR_TIME_SET_CURRENT(begin);
	if (!ask_offsets(source, n, partitions, SC_OFFSET_LATEST, offsets,
					 timeout_ms, error))
		return false;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, begin);

	found = palloc(n * sizeof(int64));
	ok = ask_offsets(source, n, partitions, timestamp_ms, found,
					 Max(1, timeout_ms - (int) INSTR_TIME_GET_MILLISEC(now)),
					 error);
	for (int i = 0; ok && i < n; i++)
	{
		if (found[i] >= 0)
			offsets[i] = found[i];
	}
	pfree(found);
	return ok;
}

/* Not always the same ones come first: the time may be over before the last ones. */
void
sc_source_offsets_alone(ScSource *source, int n, const int32 *partitions, int64 timestamp_ms,
						int64 *offsets, int timeout_ms)
{
	static uint32 turn = 0;
	TimestampTz end = TimestampTzPlusMilliseconds(sc_clock_now(), timeout_ms);
	uint32		first = MyProcPid + turn++;
	const char *error;

	for (int i = 0; i < n; i++)
		offsets[i] = -1;
	for (int i = 0; i < n && sc_clock_now() < end; i++)
	{
		int			k = (first + i) % n;

		if (!sc_source_offsets(source, 1, &partitions[k], timestamp_ms, &offsets[k],
							   Max(1, timeout_ms / ALONE_SHARE), &error))
			offsets[k] = -1;
	}
}

int64
sc_source_high_watermark(ScSource *source, int32 partition)
{
	int64_t		low,
				high;

	if (rd_kafka_get_watermark_offsets(source->rk, rd_kafka_topic_name(source->topic), partition,
									   &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return -1;
	return high;
}

const char *
sc_source_cluster_id(ScSource *source, int timeout_ms)
{
	if (source->cluster_id == NULL)
	{
		ScQuestion *q = sc_source_ask(source, sc_source_question(source, SC_ASK_CLUSTER, timeout_ms),
									  timeout_ms);

		if (q != NULL && q->cluster_id != NULL)
			source->cluster_id = MemoryContextStrdup(source->cx, q->cluster_id);
		if (q != NULL)
			sc_source_answered(q);
	}
	return source->cluster_id;
}
