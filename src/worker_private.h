/*-------------------------------------------------------------------------
 *
 * worker_private.h
 *		What a worker's loop, its questions to the brokers and its eye on the
 *		catalog share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_WORKER_PRIVATE_H
#define SC_WORKER_PRIVATE_H

#include "storage/latch.h"

#include "unit.h"

/* One question to the brokers, which may be far away. */
#define SC_QUESTION_MS 1000

typedef struct ScWorker
{
	ScUnit		unit;
	MemoryContext cx;			/* the process's life */
	char	   *brokers;		/* streamcount.bootstrap_servers at the start */
	int			fetch_mem;		/* streamcount.fetch_mem */
	ScServed   *served;
	ScSource   *source;			/* NULL: no task, nothing to read */
	WaitEventSet *waits;
	TimestampTz flushed_at;
	int			flush_took;		/* milliseconds */
	TimestampTz rechecked_at;
	TimestampTz asked_at;		/* topic and watermarks */
	bool		again;			/* it is to be looked at once more soon */
	bool		locked;			/* the stream was, when it was last looked at */
	int			missing;		/* answers that the topic does not exist */
	int			fewer;			/* such that know of fewer partitions than are read, in a row */
	int			unanswered;		/* such questions in a row */
	TimestampTz mute_since;		/* messages come, and no answers; 0 */
	TimestampTz ends_missed_at; /* when nobody could tell the ends for wait(), last */
	uint64		end_answered;	/* number of the last question of wait() */
} ScWorker;

/* The loop's; each may end the process. */
extern void sc_worker_serve_interrupts(ScWorker *w);
extern void sc_worker_sleep(ScWorker *w, long timeout_ms);

/* Once for the process, then for what it has read: whose changes it is told of. */
extern void sc_worker_watch_begin(void);
extern void sc_worker_watch(const ScServed *served);

/* Set as soon as one of them may have changed. */
extern const volatile bool *sc_worker_stale(void);

/* Told of a commit, or some time has passed: is the unit still what it was? */
extern void sc_worker_recheck(ScWorker *w, TimestampTz now);
extern long sc_worker_recheck_interval(const ScWorker *w);

/* Ask until the topic is there; how many partitions it has. */
extern int	sc_worker_await_topic(ScWorker *w);

/* The ends as of now, for wait(). */
extern void sc_worker_answer_wait(ScWorker *w);

/* Are there new partitions, is the topic still there, how far is its end? */
extern void sc_worker_ask_around(ScWorker *w, TimestampTz now);

/* In how many ms that is to be asked the next time: sooner where something is amiss. */
extern long sc_worker_look_due(const ScWorker *w, TimestampTz now);

#endif							/* SC_WORKER_PRIVATE_H */
