/*-------------------------------------------------------------------------
 *
 * source_internal.h
 *		What the files of the source share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SOURCE_INTERNAL_H
#define SC_SOURCE_INTERNAL_H

#include "source.h"

#include <pthread.h>
#include <signal.h>

#include <librdkafka/rdkafka.h>

/* What a thread asks the brokers. */
typedef enum ScQuestionKind
{
	SC_ASK_METADATA,
	SC_ASK_OFFSETS,
	SC_ASK_CLUSTER
} ScQuestionKind;

/* Malloc'd, and the thread's until it is done. */
typedef struct ScQuestion
{
	ScQuestionKind kind;
	pthread_t	thread;
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	int			answered;		/* pipes that are told of the end */
	int			arrived;
	int			timeout_ms;
	bool		done;
	TimestampTz done_at;		/* by clock.h */

	rd_kafka_resp_err_t err;
	rd_kafka_topic_partition_list_t *list;	/* asked, and answered in place */
	const rd_kafka_metadata_t *metadata;
	char	   *cluster_id;
} ScQuestion;

struct ScSource
{
	MemoryContext cx;			/* everything here that is palloc'd */
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	rd_kafka_queue_t *events;	/* the client's main queue */
	rd_kafka_queue_t *fetched;	/* the consumer queue */
	int			pipe[2];		/* librdkafka writes [1], we read [0] */
	int			answered[2];	/* the same, of the thread that asks */
	ScQuestion *question;		/* under way */
	ScQuestion *next_question;	/* waits for that one's end */
	bool		patient;		/* answers matter more than messages that wait */

	/* lent out until sc_source_release() */
	rd_kafka_message_t **messages;
	int			nmessages;
	int			max_messages;
	MemoryContext lent_cx;		/* headers */

	/* taken since the queue was last found empty */
	int64		taken_messages;
	int64		taken_bytes;
	int64		full_messages;	/* librdkafka stops fetching at either */
	int64		full_bytes;
	rd_kafka_topic_partition_list_t *assigned;
	Bitmapset  *leaderless;		/* partitions, by the last answer about the topic */

	bool		has_note;		/* an error that belongs to no partition */
	char		note[SC_SOURCE_TEXT];
	char		trouble[SC_SOURCE_TEXT];	/* the last connection that failed, since an answer */
	char		certificate[SC_SOURCE_TEXT];	/* what was wrong with the last one */
	char		error[SC_SOURCE_TEXT];
	char	   *cluster_id;
};

/* Raises ERROR where the librdkafka that is loaded is too old. */
extern void sc_source_check_library(void);

/* Raises ERROR.  The result is the caller's until rd_kafka_new() takes it. */
extern rd_kafka_conf_t *sc_source_configure(const ScStream *stream,
											const char *client_id);
extern int64 sc_source_conf_number(const rd_kafka_conf_t *conf, const char *name);

/* Let the client say what is wrong with a broker's certificate. */
extern void sc_source_name_causes(rd_kafka_conf_t *conf);

/* NULL, or those words, where the log line is one that has them. */
extern const char *sc_source_certificate_cause(const char *facility, const char *text);

/* All of them; the mask that was before. */
extern sigset_t sc_source_block_signals(void);
/* Take what is in a pipe: only emptiness counts. */
extern void sc_source_drain(int fd);

/*
 * Ask, and wait for at most timeout_ms; the question itself may last longer,
 * for whoever asks next.  NULL: there is no answer so far, or
 * messages have arrived, which are not to wait for one.  Takes the question;
 * the answer is to be given back.  Serves interrupts.
 */
extern ScQuestion *sc_source_question(ScSource *source, ScQuestionKind kind, int timeout_ms);
extern ScQuestion *sc_source_ask(ScSource *source, ScQuestion *q, int timeout_ms);
extern void sc_source_answered(ScQuestion *q);

/* Does the error say that the topic, or the partition, is not there? */
extern bool sc_source_is_missing(rd_kafka_resp_err_t err);

#endif							/* SC_SOURCE_INTERNAL_H */
