/*-------------------------------------------------------------------------
 *
 * source_fetch.c
 *		Messages from Kafka, lent out without a copy.
 *
 * They are librdkafka's memory until they are released.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "utils/memutils.h"

#include "source_internal.h"

/* Newer libraries' alone; a number, since any may be the one that is loaded. */
#define LOG_TRUNCATION (-139)

/* How often a pause is ended, at the most, while a full queue is taken. */
#define PAUSE_ENDS 4

void
sc_source_drain(int fd)
{
	char		bytes[64];

	while (read(fd, bytes, sizeof(bytes)) > 0)
		 /* level-triggered: only emptiness counts */ ;
}

/*
 * When its queue is full, librdkafka 2.0 pauses fetching for up to a second,
 * even if the queue is empty again after a tenth of it.  Any request to a
 * broker ends the pause, so whenever a good part of a full queue has been
 * taken, the brokers that lead our partitions are asked for an offset, whose
 * answer nobody awaits.
 */
static void
end_fetch_pause(ScSource *source)
{
	rd_kafka_topic_partition_list_t *ask;

	if (source->assigned == NULL ||
		(source->taken_messages < source->full_messages / PAUSE_ENDS &&
		 source->taken_bytes < source->full_bytes / PAUSE_ENDS))
		return;
	source->taken_messages = 0;
	source->taken_bytes = 0;
	ask = rd_kafka_topic_partition_list_copy(source->assigned);
	for (int i = 0; i < ask->cnt; i++)
		ask->elems[i].offset = RD_KAFKA_OFFSET_END;
	(void) rd_kafka_offsets_for_times(source->rk, ask, 0);
	rd_kafka_topic_partition_list_destroy(ask);
}

static ScFetchKind
kind_of(rd_kafka_resp_err_t err)
{
	if (sc_source_is_missing(err))
		return SC_FETCH_TOPIC_MISSING;
	switch ((int) err)
	{
		case RD_KAFKA_RESP_ERR_NO_ERROR:
			return SC_FETCH_MESSAGE;
		case RD_KAFKA_RESP_ERR__PARTITION_EOF:
			return SC_FETCH_EOF;
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
		case LOG_TRUNCATION:
			return SC_FETCH_OUT_OF_RANGE;
		case RD_KAFKA_RESP_ERR__BAD_MSG:
		case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
		case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:	/* magic byte, or codec */
		case RD_KAFKA_RESP_ERR_INVALID_MSG:
			return SC_FETCH_CORRUPT;
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			return SC_FETCH_DENIED;
		default:
			return SC_FETCH_ERROR;
	}
}

/* False when the headers cannot be read. */
static bool
lend_headers(ScSource *source, const rd_kafka_message_t *from, ScMessage *to)
{
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t err = rd_kafka_message_headers(from, &headers);
	ScHeader   *array;
	int			n;

	if (err == RD_KAFKA_RESP_ERR__NOENT)
		return true;
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;

	n = (int) rd_kafka_header_cnt(headers);
	array = MemoryContextAlloc(source->lent_cx, n * sizeof(ScHeader));
	for (int i = 0; i < n; i++)
		(void) rd_kafka_header_get_all(headers, i, &array[i].name,
									   (const void **) &array[i].value,
									   &array[i].value_len);
	to->headers = array;
	to->nheaders = n;
	return true;
}

/* Errors that belong to no partition, a group's for example, say nothing
 * about what is read: they go where the events go. */
static bool
belongs_to_partition(const rd_kafka_message_t *from)
{
	return from->rkt != NULL && from->partition >= 0;
}

static void
lend(ScSource *source, rd_kafka_message_t *from, ScFetch *entry)
{
	ScMessage  *to = &entry->message;

	memset(entry, 0, sizeof(ScFetch));
	entry->kind = kind_of(from->err);
	to->partition = from->partition;
	to->offset = from->offset;
	to->timestamp_ms = -1;
	if (entry->kind != SC_FETCH_MESSAGE)
	{
		if (entry->kind != SC_FETCH_EOF)
			entry->text = rd_kafka_message_errstr(from);
		return;
	}

	to->timestamp_ms = rd_kafka_message_timestamp(from, NULL);
	to->payload = from->payload;
	to->payload_len = from->len;
	to->key = from->key;
	to->key_len = from->key_len;
	source->taken_messages++;
	source->taken_bytes += from->len + from->key_len;
	if (source->lent_cx != NULL && !lend_headers(source, from, to))
	{
		entry->kind = SC_FETCH_CORRUPT;
		entry->text = "the headers of the message cannot be read";
	}
}

static void
make_room(ScSource *source, int max)
{
	if (max <= source->max_messages)
		return;
	if (source->messages != NULL)
		pfree(source->messages);
	source->messages = NULL;
	source->max_messages = 0;
	source->messages =
		MemoryContextAllocHuge(source->cx, max * sizeof(rd_kafka_message_t *));
	source->max_messages = max;
}

int
sc_source_poll(ScSource *source, ScFetch *entries, int max)
{
	int			n = 0;

	Assert(source->nmessages == 0);
	make_room(source, max);

	/* The pipe first: what comes after that writes into it again. */
	sc_source_drain(source->pipe[0]);
	do
	{
		ssize_t		taken;

		sc_source_release(source);
		taken = rd_kafka_consume_batch_queue(source->fetched, 0,
											 source->messages, max);
		source->nmessages = taken > 0 ? (int) taken : 0;
		for (int i = 0; i < source->nmessages; i++)
		{
			rd_kafka_message_t *from = source->messages[i];

			if (belongs_to_partition(from))
				lend(source, from, &entries[n++]);
			else
			{
				strlcpy(source->note, rd_kafka_message_errstr(from),
						sizeof(source->note));
				source->has_note = true;
			}
		}
	} while (n == 0 && source->nmessages > 0);

	end_fetch_pause(source);
	return n;
}

void
sc_source_release(ScSource *source)
{
	while (source->nmessages > 0)
		rd_kafka_message_destroy(source->messages[--source->nmessages]);
	if (source->lent_cx != NULL)
		MemoryContextReset(source->lent_cx);
}
