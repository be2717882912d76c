/*-------------------------------------------------------------------------
 *
 * source.c
 *		A Kafka client, from its start to its end.
 *
 * librdkafka brings threads of its own.  None of them ever touches anything of
 * PostgreSQL's: they have every signal blocked, call nothing back but what
 * source_verify.c has for them, and all that they have to say waits in two
 * queues, which the process that opened the source reads.  A byte in a pipe
 * tells it that one of them is no longer empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/memutils.h"

#include "source_internal.h"

/* How long a SELECT waits for librdkafka's threads to end. */
#define STOP_TIMEOUT_S 1

/*
 * Threads inherit the signal mask.  A signal that one of them took would be
 * lost for PostgreSQL, whose handlers only know the main thread.
 */
sigset_t
sc_source_block_signals(void)
{
	sigset_t	all;
	sigset_t	before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	return before;
}

static rd_kafka_t *
start_client(rd_kafka_conf_t *conf, char *errstr, size_t size)
{
	sigset_t	before = sc_source_block_signals();
	rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, errstr, size);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rk;
}

static ScSource *
create_source(bool want_headers)
{
	MemoryContext cx = AllocSetContextCreate(TopMemoryContext,
											 "streamcount source",
											 ALLOCSET_SMALL_SIZES);
	ScSource   *source = MemoryContextAllocZero(cx, sizeof(ScSource));

	source->cx = cx;
	source->pipe[0] = source->pipe[1] = -1;
	source->answered[0] = source->answered[1] = -1;
	if (want_headers)
		source->lent_cx = AllocSetContextCreate(cx, "streamcount headers",
												ALLOCSET_DEFAULT_SIZES);
	return source;
}

static bool
open_pipe(int *fds)
{
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0)
	{
		fds[0] = fds[1] = -1;
		return false;
	}
	ReserveExternalFD();
	ReserveExternalFD();
	return true;
}

/*
 * The pipe is attached before there is anything to fetch: a queue tells only
 * that it becomes filled, never that it is.
 */
static void
open_queues(ScSource *source)
{
	source->events = rd_kafka_queue_get_main(source->rk);
	source->fetched = rd_kafka_queue_get_consumer(source->rk);
	rd_kafka_queue_io_event_enable(source->events, source->pipe[1], "e", 1);
	rd_kafka_queue_io_event_enable(source->fetched, source->pipe[1], "m", 1);
	(void) rd_kafka_set_log_queue(source->rk, source->events);
}

ScSource *
sc_source_try_open(const ScStream *stream, bool want_headers, const char *client_id,
				   char *reason, size_t size)
{
	rd_kafka_conf_t *conf = sc_source_configure(stream, client_id);
	ScSource   *source = create_source(want_headers);

	source->full_messages = sc_source_conf_number(conf, "queued.min.messages");
	source->full_bytes =
		sc_source_conf_number(conf, "queued.max.messages.kbytes") * 1024;

	reason[0] = '\0';
	if (!open_pipe(source->pipe) || !open_pipe(source->answered))
		strlcpy(reason, strerror(errno), size);
	else
		source->rk = start_client(conf, reason, size);
	if (source->rk == NULL)
		rd_kafka_conf_destroy(conf);
	else
	{
		open_queues(source);
		source->topic = rd_kafka_topic_new(source->rk, stream->topic, NULL);
		if (source->topic == NULL)
			strlcpy(reason, rd_kafka_err2str(rd_kafka_last_error()), size);
	}
	if (source->topic != NULL)
		return source;
	sc_source_close(source);
	return NULL;
}

ScSource *
sc_source_open(const ScStream *stream, bool want_headers, const char *client_id)
{
	char		reason[SC_SOURCE_TEXT];
	ScSource   *source = sc_source_try_open(stream, want_headers, client_id,
											reason, sizeof(reason));

	if (source == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("could not start the Kafka client of stream %s: %s",
						stream->name, reason)));
	return source;
}

int
sc_source_fd(ScSource *source)
{
	return source->pipe[0];
}

static rd_kafka_topic_partition_list_t *
list_partitions(const char *topic, int n, const int32 *partitions, const int64 *offsets)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);

	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, topic, partitions[i])->offset = offsets[i];
	return list;
}

void
sc_source_assign(ScSource *source, int n, const int32 *partitions,
				 const int64 *offsets)
{
	const char *topic = rd_kafka_topic_name(source->topic);
	rd_kafka_resp_err_t err;

	Assert(source->assigned == NULL);
	source->assigned = list_partitions(topic, n, partitions, offsets);
	err = rd_kafka_assign(source->rk, source->assigned);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("could not read from Kafka topic \"%s\": %s",
						topic, rd_kafka_err2str(err))));
}

/* Brokers are not asked: it only takes the client's own threads.  NULL: done. */
const char *
sc_source_seek(ScSource *source, int n, const int32 *partitions, const int64 *offsets,
			   int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list =
		list_partitions(rd_kafka_topic_name(source->topic), n, partitions, offsets);
	rd_kafka_error_t *error = rd_kafka_seek_partitions(source->rk, list, timeout_ms);
	rd_kafka_resp_err_t err = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;

	for (int i = 0; i < n && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		err = list->elems[i].err;
	rd_kafka_error_destroy(error);
	rd_kafka_topic_partition_list_destroy(list);
	return err == RD_KAFKA_RESP_ERR_NO_ERROR ? NULL : rd_kafka_err2str(err);
}

/* What outlives a source, since it may take long. */
typedef struct Ending
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	ScQuestion *question;
	int			fds[4];
} Ending;

static void *
end_client(void *arg)
{
	Ending	   *ending = arg;

	if (ending->question != NULL)
	{
		pthread_join(ending->question->thread, NULL);
		sc_source_answered(ending->question);
	}
	for (int i = 0; i < (int) lengthof(ending->fds); i++)
	{
		if (ending->fds[i] >= 0)
			close(ending->fds[i]);
	}
	if (ending->topic != NULL)
		rd_kafka_topic_destroy(ending->topic);
	if (ending->rk != NULL)
		rd_kafka_destroy_flags(ending->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	free(ending);
	return NULL;
}

/*
 * A question that nobody waits for any more has to end first, and before
 * librdkafka 2.6.1, rd_kafka_destroy() never returns once the topic was
 * deleted.  So a thread does it, which knows nothing of PostgreSQL.  If it
 * hangs, a few idle threads stay until the process ends.
 */
static void
stop_client(const ScSource *source)
{
	Ending	   *ending = malloc(sizeof(Ending));
	sigset_t	before;
	pthread_t	thread;
	bool		started;

	if (ending == NULL)
		return;
	*ending = (Ending) {source->rk, source->topic, source->question,
		{source->pipe[0], source->pipe[1], source->answered[0], source->answered[1]}};
	before = sc_source_block_signals();
	started = pthread_create(&thread, NULL, end_client, ending) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
	{
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += STOP_TIMEOUT_S;
		if (pthread_timedjoin_np(thread, NULL, &until) != 0)
			pthread_detach(thread);
	}
}

static void
close_queue(rd_kafka_queue_t *queue)
{
	if (queue != NULL)
	{
		rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
		rd_kafka_queue_destroy(queue);
	}
}

void
sc_source_close(ScSource *source)
{
	sc_source_release(source);
	close_queue(source->fetched);
	close_queue(source->events);
	if (source->next_question != NULL)
		sc_source_answered(source->next_question);
	if (source->assigned != NULL)
		rd_kafka_topic_partition_list_destroy(source->assigned);
	stop_client(source);
	for (int i = 0; i < 4; i++)
	{
		if ((i < 2 ? source->pipe : source->answered)[i % 2] >= 0)
			ReleaseExternalFD();
	}
	MemoryContextDelete(source->cx);
}
