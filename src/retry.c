/*-------------------------------------------------------------------------
 *
 * retry.c
 *		Rejects, judged once more.
 *
 * As in a flush, by the executor's way: the messages are made a batch, the
 * query is merged over those that it does not fail on, and rows and books
 * are one transaction's, the caller's.  Offsets do not move, nothing halts,
 * and a failed merge fails the whole call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "batch.h"
#include "identity.h"
#include "ledger.h"
#include "left_out.h"
#include "objects.h"
#include "refetch.h"
#include "retry.h"
#include "stream.h"
#include "way.h"

/* So many messages at a time, if there is memory for them */
#define MAX_TRIED 20000

typedef struct Tried
{
	int64		id;				/* of the reject */
	int			part;			/* of the task's parts */
} Tried;

typedef struct Retry
{
	const ScRollup *rollup;
	ArrayType  *ids;
	ScStream   *stream;			/* as it is now, but nothing in it halts */
	Bitmapset  *columns;
	ScKeptNeeds needs;
	List	   *wanted;			/* ScRefetch: of which not all was kept */

	MemoryContext row_cx;		/* reset with each reject */
	ScTask		task;
	ScWay	   *way;
	Tried	   *tried;			/* those that the way holds, in its order */
	int			ntried;
	ScPart	   *sums;			/* by the task's parts: what the books have to learn */
	int64	   *bytes;			/* what the rejects kept that are none any more */
	ScRetried	result;
} Retry;

static void
check(const ScRollup *rollup)
{
	AclResult	acl;

	if (sc_batch_is_taken())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot retry rejects from within a rollup's query")));
	if (!rollup->complete)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot retry rejects of %s: it is being restored", rollup->name)));
	if (rollup->owners_differ)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot retry rejects of %s: its view, query view and data table have different owners",
						rollup->name),
				 errhint("Give all three to one role by ALTER ... OWNER TO.")));

	/* The query will be checked; but what is read from Kafka is read before. */
	acl = pg_class_aclcheck(rollup->stream, rollup->owner, ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_FOREIGN_TABLE, get_rel_name(rollup->stream));
}

/* What the query reads of a message that a reject's row cannot always tell. */
static ScKeptNeeds
find_needs(const Retry *r)
{
	ScKeptNeeds needs = {false, false};

	for (int i = 0; i < r->stream->ncolumns; i++)
	{
		const ScColumn *column = &r->stream->columns[i];

		if (column->kind != SC_COLUMN_METADATA || !bms_is_member(column->attnum, r->columns))
			continue;
		needs.headers |= column->metadata == SC_META_HEADERS;
		needs.time |= column->metadata == SC_META_TIMESTAMP;
	}
	return needs;
}

static void
define(Retry *r)
{
	LockRelationOid(r->rollup->stream, AccessShareLock);
	/* Whoever drops the rollup takes this lock first, too. */
	LockRelationOid(r->rollup->relid, AccessShareLock);
	if (get_rel_name(r->rollup->relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("rollup %s does not exist any more", r->rollup->name)));
	r->stream = sc_stream_load(r->rollup->stream, false, CurrentMemoryContext);
	r->stream->halt_on_error = false;
	r->stream->reject_limit = 0;
	r->columns = sc_objects_columns(r->rollup->query);
	r->needs = find_needs(r);
	r->way = sc_way_executor(r->stream, r->columns, CurrentMemoryContext);
	r->task.rollup = unconstify(ScRollup *, r->rollup);
	r->task.columns = r->columns;
	r->tried = palloc(sizeof(Tried) * MAX_TRIED);
	r->row_cx = AllocSetContextCreate(CurrentMemoryContext, "streamcount reject",
									  ALLOCSET_DEFAULT_SIZES);
}

/* Read again what was not kept: brokers are slow, so no worker is to wait for this. */
static void
refetch(Retry *r)
{
	MemoryContext cx = CurrentMemoryContext;
	ScIdentity	saved;
	ScKept		kept;
	Portal		rejects;

	sc_identity_enter_owner(&saved);
	SPI_connect();
	rejects = sc_left_out_open(r->rollup, r->ids, r->needs, true);
	MemoryContextSwitchTo(r->row_cx);
	while (sc_left_out_next(rejects, &kept))
	{
		MemoryContextSwitchTo(cx);
		r->wanted = sc_refetch_want(r->wanted, kept.message.partition, kept.message.offset);
		MemoryContextReset(r->row_cx);
		MemoryContextSwitchTo(r->row_cx);
	}
	SPI_cursor_close(rejects);
	SPI_finish();
	sc_identity_leave(&saved);
	MemoryContextSwitchTo(cx);
	sc_refetch_read(r->rollup->stream, r->columns, r->wanted);
}

/* ---------------------------------------------------------------------
 * One batch
 * --------------------------------------------------------------------- */

static void
add_up(Retry *r)
{
	for (int i = 0; i < r->task.nparts; i++)
	{
		const ScPart *part = &r->task.parts[i];

		r->sums[i].counted += part->counted;
		r->sums[i].filtered += part->filtered;
		r->result.counted += part->counted + part->filtered;
	}
	r->result.rejected += list_length(r->task.left_out);
}

/* What was rejected again stands in left_out in the batch's order. */
static void
write_rejects(Retry *r)
{
	ListCell   *again = list_head(r->task.left_out);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext cx = AllocSetContextCreate(caller, "streamcount rejects", ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < r->ntried; i++)
	{
		const Tried *tried = &r->tried[i];

		/* Each statement leaves SPI's own context current, which lasts. */
		MemoryContextReset(cx);
		MemoryContextSwitchTo(cx);
		if (r->task.shown[i])
		{
			r->bytes[tried->part] += sc_left_out_remove(tried->id);
			continue;
		}
		if (again == NULL)
			elog(ERROR, "a message was neither taken nor rejected");
		sc_left_out_reject_again(r->rollup, tried->id, ((ScLeftOut *) lfirst(again))->why);
		again = lnext(r->task.left_out, again);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(cx);
}

/* Those that the query fails on are found first, so a merge that fails is nobody's fault. */
static void
try_batch(Retry *r)
{
	const ScWayMethods *methods = r->way->methods;

	if (r->ntried == 0)
		return;
	methods->prepare(r->way, list_make1(&r->task));
	methods->blame(r->way, &r->task);
	methods->judge(r->way, &r->task);
	methods->merge(r->way, &r->task);
	add_up(r);
	write_rejects(r);
	methods->forget(r->way);
	sc_task_forget(&r->task);
	r->ntried = 0;
}

/* ---------------------------------------------------------------------
 * All of them
 * --------------------------------------------------------------------- */

static bool
begins_with(const char *bytes, size_t len, const char *start, size_t start_len)
{
	return start == NULL || (bytes != NULL && len >= start_len &&
							 memcmp(bytes, start, start_len) == 0);
}

/* A topic that was made anew has other messages at the same offsets. */
static bool
is_same(const ScKept *kept, const ScMessage *found)
{
	const ScMessage *m = &kept->message;

	return (!kept->has_time || m->timestamp_ms == found->timestamp_ms) &&
		begins_with(found->payload, found->payload_len, m->payload, m->payload_len) &&
		begins_with(found->key, found->key_len, m->key, m->key_len);
}

/* The message itself; false where there is none to be tried. */
static bool
find_message(Retry *r, const ScKept *kept, ScMessage *message)
{
	*message = kept->message;
	if (kept->whole)
		return true;

	/* Rejected since Kafka was asked: its turn comes with the next call. */
	if (!sc_refetch_wants(r->wanted, message->partition, message->offset))
		return false;
	if (sc_refetch_get(r->wanted, message->partition, message->offset, message) &&
		is_same(kept, message))
		return true;
	sc_left_out_note_gone(kept->id);
	r->result.rejected++;
	return false;
}

static void
try_one(Retry *r, const ScKept *kept)
{
	ScPart	   *part = sc_task_part(&r->task, kept->message.partition);
	ScMessage	message;

	if (part == NULL || !find_message(r, kept, &message))
		return;
	if (r->ntried == MAX_TRIED || r->way->methods->full(r->way))
		try_batch(r);
	r->way->methods->accept(r->way, &message);
	r->tried[r->ntried].id = kept->id;
	r->tried[r->ntried++].part = part - r->task.parts;
}

static void
try_all(Retry *r)
{
	MemoryContext cx = CurrentMemoryContext;
	Portal		rejects = sc_left_out_open(r->rollup, r->ids, r->needs, false);
	ScKept		kept;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(r->row_cx);
		MemoryContextSwitchTo(r->row_cx);
		if (!sc_left_out_next(rejects, &kept))
			break;
		try_one(r, &kept);
	}
	try_batch(r);
	MemoryContextSwitchTo(cx);
	SPI_cursor_close(rejects);
}

static void
settle(Retry *r)
{
	for (int i = 0; i < r->task.nparts; i++)
	{
		r->sums[i].partition = r->task.parts[i].partition;
		if (r->sums[i].counted + r->sums[i].filtered > 0)
			sc_ledger_settle(r->rollup, &r->sums[i], r->bytes[i]);
	}
}

/*
 * Deferred triggers would run at the commit, as the caller: those of the
 * caller's own are done now.
 */
static void
set_constraints(void)
{
	SPI_connect();
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not set constraints immediate");
	SPI_finish();
}

ScRetried
sc_retry(const ScRollup *rollup, ArrayType *ids)
{
	Retry		r = {.rollup = rollup, .ids = ids};
	MemoryContext cx = AllocSetContextCreate(CurrentMemoryContext, "streamcount retry",
											 ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(cx);
	ScIdentity	saved;

	check(rollup);
	define(&r);
	refetch(&r);
	set_constraints();
	sc_identity_enter_owner(&saved);
	sc_identity_fix_settings(false);
	SPI_connect();
	MemoryContextSwitchTo(cx);
	sc_ledger_lock(&r.task);
	r.sums = palloc0(sizeof(ScPart) * Max(r.task.nparts, 1));
	r.bytes = palloc0(sizeof(int64) * Max(r.task.nparts, 1));

	/* Nothing that was committed while we waited may be missed. */
	PushActiveSnapshot(GetTransactionSnapshot());
	PG_TRY();
	{
		try_all(&r);
	}
	PG_FINALLY();
	{
		/* This process lives on, and scans the stream as anybody does. */
		sc_batch_put_down();
	}
	PG_END_TRY();
	settle(&r);
	PopActiveSnapshot();
	SPI_finish();
	sc_identity_leave(&saved);
	sc_refetch_close(r.wanted);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(cx);
	return r.result;
}
