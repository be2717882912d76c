/*-------------------------------------------------------------------------
 *
 * stats.h
 *		What processes tell each other: the only shared memory.
 *
 * A unit is what one worker serves: a stream, less the rollups that are
 * served apart (rollup = InvalidOid); or one rollup that is served apart.
 * Without preloading there is no shared memory, and every call here answers
 * "nothing".
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_STATS_H
#define SC_STATS_H

#include "streamcount.h"
#include "datatype/timestamp.h"

typedef enum ScState
{
	SC_STATE_DOWN,
	SC_STATE_IDLE,
	SC_STATE_WAITING,
	SC_STATE_RUNNING,
	SC_STATE_CATCHING_UP,
	SC_STATE_CONNECTING,
	SC_STATE_STALLED,
	SC_STATE_BLOCKED,
	SC_STATE_RESTORING
} ScState;

extern const char *sc_state_name(ScState state);

/* Is it one that goes on by itself when the brokers are mended? */
extern bool sc_state_needs_look(ScState state);

typedef struct ScUnit
{
	Oid			db;
	Oid			stream;
	Oid			rollup;			/* InvalidOid: all of the stream's but those apart */
} ScUnit;

/*
 * Bytes for a reason that is shown while it lasts.  As many whole characters
 * of it are kept as there is room for.
 */
#define SC_REASON_LEN 256

extern void sc_stats_put_reason(char *to, const char *reason);
extern bool sc_stats_is_reason(const char *put, const char *reason);

/* A partition that stands still, as one worker of a unit tells the next. */
typedef struct ScStall
{
	int32		partition;
	int64		offset;			/* where it stands */
	int64		last_ms;		/* Kafka's time of the last message before it; -1 */
	int			tries;			/* so many workers have failed there */
	int			broken;			/* so many of them, the last ones, by a broken batch */
	bool		silent;			/* the last one, by silence */
	TimestampTz since;
	TimestampTz retry_at;		/* by clock.h: it is not read before; 0: it is read */
	char		reason[SC_REASON_LEN];
} ScStall;

/* So many of a unit are remembered. */
#define SC_MAX_STALLS 16

/* What a live worker knows of one partition of one rollup. */
typedef struct ScLive
{
	Oid			db;
	Oid			rollup;
	int32		partition;
	int64		next_offset;	/* committed */
	int64		high_watermark; /* -1: not known */
	int64		low_watermark;	/* -1: not known */
	int64		last_message_ms;	/* Kafka's time of the last message; -1 */
	TimestampTz checked_at;		/* when the watermarks were learnt */
	ScState		state;
	TimestampTz since;
	char		reason[SC_REASON_LEN];
	/* for wait(): the end of the partition as of this request */
	uint64		end_request;
	int64		end_offset;
} ScLive;

/* One unit and its worker, as the views show it. */
typedef struct ScUnitInfo
{
	ScUnit		unit;
	int			pid;			/* 0: no worker */
	ScState		state;
	TimestampTz since;
	char		reason[SC_REASON_LEN];	/* why there is no worker, or its state's */
	int			failures;		/* unclean ends in a row */
	int64		messages;		/* since the worker's start */
	int64		bytes;
	int64		flushes;
	int64		rows_written;
	TimestampTz started_at;
	TimestampTz flushed_at;
} ScUnitInfo;

/* Set-up */
extern void sc_stats_request(int units, int partitions);	/* shmem_request_hook */
extern void sc_stats_startup(void);		/* shmem_startup_hook */
extern bool sc_stats_available(void);

/*
 * Signals.  sc_stats_changed_at_commit() makes the commit of the current
 * transaction (never its abort) tell the launcher and all workers of this
 * database to read the catalog again.
 */
extern void sc_stats_changed_at_commit(void);
/* And this stream, or all of them (InvalidOid), is served though its workers have crashed. */
extern void sc_stats_stream_changed_at_commit(Oid stream);

/* Workers.  A worker owns the unit that it was started for. */
extern void sc_stats_worker_attach(int index, ScUnit *unit);	/* and detach at exit */
extern bool sc_stats_worker_told(void);	/* "read the catalog again", once */
extern void sc_stats_worker_state(ScState state, const char *reason);
/* It ends by an error; false: as the one before it did, and nothing is new. */
extern bool sc_stats_worker_failed(int sqlstate, const char *reason);
/* The last such state that needs a look, if no other came after it, be it
 * of the unit's worker before; else SC_STATE_DOWN. */
extern ScState sc_stats_worker_trouble(void);
extern void sc_stats_worker_flushed(int64 messages, int64 bytes, int64 rows);
/* An end that is no failure: the launcher starts the unit again at once. */
extern void sc_stats_worker_will_restart(const char *reason);
/*
 * So many messages are to be read by the executor's way alone, by whichever
 * worker serves the unit; 0: as usual.
 */
extern void sc_stats_worker_set_careful(int64 messages);
extern int64 sc_stats_worker_careful(void);
/* Of the unit, whichever worker serves it; up to SC_MAX_STALLS */
extern int	sc_stats_worker_stalls(ScStall *stalls);
extern void sc_stats_worker_set_stalls(int n, const ScStall *stalls);
/* Nothing left to serve: the launcher forgets the unit. */
extern void sc_stats_worker_finished(void);

/* Served apart: false when there is no room for one more unit. */
extern bool sc_stats_set_apart(Oid stream, Oid rollup, const char *reason);
extern void sc_stats_clear_apart(Oid stream, Oid rollup);
extern bool sc_stats_is_apart(Oid rollup);
/* Not while the others have no worker. */
extern bool sc_stats_may_join(Oid stream);
/* When the worker's own unit last took a rollup back; 0: never. */
extern TimestampTz sc_stats_worker_joined_at(void);

/* Live partitions, of the current database.  Found by (rollup, partition). */
extern void sc_stats_live_put(const ScLive *live);
extern void sc_stats_live_forget(Oid rollup);
extern bool sc_stats_live_get(Oid rollup, int32 partition, ScLive *live);
extern List *sc_stats_live_list(void);	/* palloc'd ScLive of this database */
extern List *sc_stats_unit_list(void);	/* palloc'd ScUnitInfo of this database */
extern bool sc_stats_unit_of(Oid stream, Oid rollup, ScUnitInfo *info);

/*
 * wait(): ask the worker that serves the rollup for the ends of all
 * partitions.  The worker sees sc_stats_end_request() of its unit rise,
 * asks the brokers, and puts ScLive entries with that number and the ends.
 */
extern uint64 sc_stats_ask_end(Oid stream, Oid rollup);	/* 0: no worker */
extern uint64 sc_stats_end_request(void);	/* the worker's own unit */
/* Workers broadcast after each commit and answer; waiters sleep on it. */
extern void sc_stats_broadcast(void);
extern void sc_stats_wait_prepare(void);
extern void sc_stats_wait(long timeout_ms);	/* serves interrupts */
extern void sc_stats_wait_end(void);

#endif							/* SC_STATS_H */
