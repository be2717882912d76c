/*-------------------------------------------------------------------------
 *
 * source.h
 *		Kafka, seen from the rest of streamcount.
 *
 * Every call returns at once unless it takes a timeout; while such a one
 * waits, it serves interrupts.  Two cannot, as it is librdkafka that waits:
 * sc_source_seek(), for 200 ms, and sc_source_close(), for a second.  No call
 * raises any other ERROR except where it says so; what librdkafka has to say
 * arrives by sc_source_event().
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_SOURCE_H
#define SC_SOURCE_H

#include "datatype/timestamp.h"

#include "streamcount.h"

typedef struct ScSource ScSource;

typedef enum ScEventKind
{
	SC_EVENT_LOG,				/* a log line of librdkafka's */
	SC_EVENT_TROUBLE,			/* a connection or a request has failed */
	SC_EVENT_DISCONNECTED,		/* all brokers are down, or cannot be reached */
	SC_EVENT_AUTH_FAILED,		/* authentication or TLS, on either side */
	SC_EVENT_FATAL				/* the client cannot go on */
} ScEventKind;

typedef struct ScEvent
{
	ScEventKind kind;
	int			elevel;			/* SC_EVENT_LOG: LOG, WARNING, DEBUG1 … */
	char		text[512];
} ScEvent;

/* What one sc_source_poll() entry is. */
typedef enum ScFetchKind
{
	SC_FETCH_MESSAGE,
	SC_FETCH_EOF,				/* message.offset: the end of the partition */
	SC_FETCH_OUT_OF_RANGE,		/* the broker does not have the offset */
	SC_FETCH_CORRUPT,			/* a broken batch (_BAD_MSG, CRC, codec) */
	SC_FETCH_TOPIC_MISSING,		/* topic or partition unknown */
	SC_FETCH_DENIED,			/* topic authorization failed */
	SC_FETCH_ERROR				/* any other: text says what */
} ScFetchKind;

typedef struct ScFetch
{
	ScFetchKind kind;
	ScMessage	message;		/* partition is always set */
	const char *text;			/* errors: librdkafka's words, until release */
} ScFetch;

/*
 * Raises ERROR.  Starts threads: only in a worker or a backend.  The source
 * belongs to no memory context: it lasts until it is closed.
 */
extern ScSource *sc_source_open(const ScStream *stream, bool want_headers,
								const char *client_id);

/* Room for any reason why there is no client. */
#define SC_SOURCE_TEXT 512

/*
 * The same, but NULL with a reason where the client cannot be started, which
 * may be the fault of a file that it reads.  Options raise ERROR.
 */
extern ScSource *sc_source_try_open(const ScStream *stream, bool want_headers,
									const char *client_id, char *reason, size_t size);

/*
 * Readable when something may have arrived, message or event; drained by
 * sc_source_poll().  Before sleeping, sc_source_poll() must have returned 0
 * and after that sc_source_event() false.
 */
extern int	sc_source_fd(ScSource *source);

/* Once in the life of a source.  Raises ERROR. */
extern void sc_source_assign(ScSource *source, int n,
							 const int32 *partitions, const int64 *offsets);

/*
 * Read on from other offsets: what was fetched ahead is dropped.  Returns why
 * that was not done within the time, or NULL; it may yet be done later.
 */
extern const char *sc_source_seek(ScSource *source, int n, const int32 *partitions,
								  const int64 *offsets, int timeout_ms);

/*
 * Take up to max entries that have arrived.  They are valid until
 * sc_source_release().  Returns 0 when there is nothing: only then may the
 * caller sleep on sc_source_fd().
 */
extern int	sc_source_poll(ScSource *source, ScFetch *entries, int max);
extern void sc_source_release(ScSource *source);

/* Take one event; false when there is none. */
extern bool sc_source_event(ScSource *source, ScEvent *event);

/*
 * Questions to the brokers.  They wait for at most timeout_ms, once assigned
 * only a moment where messages wait, too, and return false with the reason in
 * *error (a static buffer of the source's).  Never call one inside a
 * transaction that holds locks.
 */
typedef enum ScTopicAnswer
{
	SC_TOPIC_FOUND,
	SC_TOPIC_MISSING,
	SC_TOPIC_DENIED,
	SC_TOPIC_NO_ANSWER
} ScTopicAnswer;

/*
 * After timeout_ms the question goes on until it has lasted for last_ms: where
 * it is asked again meanwhile, or soon after, its answer is taken.
 */
extern ScTopicAnswer sc_source_partitions(ScSource *source, int *npartitions,
										  int timeout_ms, int last_ms, const char **error);

/* By the last such answer: a broker can be asked about it, and read from. */
extern bool sc_source_is_led(ScSource *source, int32 partition);

/*
 * Before a question is asked again: wait until a moment has passed since it
 * was asked, for an answer that is none may come at once.  Serves interrupts.
 */
#define SC_QUESTION_PAUSE_MS 300
extern void sc_source_pause(TimestampTz asked_at);

/* For one who will take no more messages: answers are waited for in full. */
extern void sc_source_be_patient(ScSource *source);

#define SC_OFFSET_LATEST	INT64CONST(-1)
#define SC_OFFSET_EARLIEST	INT64CONST(-2)

/*
 * The first offset at or after a time, for each of n partitions; or the end
 * (SC_OFFSET_LATEST), or the oldest that is still there.  A partition
 * without a message after the time answers its end.
 */
extern bool sc_source_offsets(ScSource *source, int n, const int32 *partitions,
							  int64 timestamp_ms, int64 *offsets,
							  int timeout_ms, const char **error);

/*
 * Where one partition that nobody can tell about leaves that unanswered: each
 * is asked about alone, as far as the time goes; -1 where there is no answer.
 */
extern void sc_source_offsets_alone(ScSource *source, int n, const int32 *partitions,
									int64 timestamp_ms, int64 *offsets, int timeout_ms);

/*
 * Where the partition ends, transactions that are open included, as of the
 * last message that was fetched or looked for; -1: not known.
 */
extern int64 sc_source_high_watermark(ScSource *source, int32 partition);

/* The cluster's id, or NULL when no broker has told it within the time. */
extern const char *sc_source_cluster_id(ScSource *source, int timeout_ms);

/*
 * Backends only, after a SELECT.  A worker never closes: its exit is the
 * teardown (rd_kafka_destroy can hang after the topic was deleted).  Raises
 * no ERROR.
 */
extern void sc_source_close(ScSource *source);

/*
 * Is this librdkafka property allowed in a server's options (secret =
 * false) or in a user mapping's (secret = true), and does librdkafka take
 * the value?  NULL if so, else a palloc'd reason that does not show the
 * value of a secret.
 */
extern bool sc_source_property_allowed(const char *name, bool secret);
extern char *sc_source_check_property(const char *name, const char *value);

/* Do they go together?  With or without those of the user mapping. */
extern char *sc_source_check_properties(int n, const ScProperty *properties);

/*
 * The mechanism among these properties by which this librdkafka cannot log in
 * to brokers of today, or NULL.
 */
extern const char *sc_source_outdated_mechanism(int n, const ScProperty *properties);
extern const char *sc_source_library_version(void);

/* Does it name a file, which the server reads with its own rights? */
extern bool sc_source_property_is_file(const char *name);

/* All allowed names, comma-separated, for hints. */
extern const char *sc_source_property_list(bool secret);

#endif							/* SC_SOURCE_H */
