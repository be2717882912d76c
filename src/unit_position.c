/*-------------------------------------------------------------------------
 *
 * unit_position.c
 *		Where a unit stands: its rollups' positions, and the worker's own.
 *
 * A worker reads each partition from where the hindmost of its rollups stands.
 * One that would hold up the others is sent apart before any of them begins.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "starts.h"
#include "unit.h"

/*
 * Rollups that are further behind than this are served apart.  One that has
 * just caught up may fall back by all that comes while it is handed over.
 */
#define APART_LAG 10000
#define APART_LAG_JOINED 1000000
#define JOINED_MS 60000

ScPosition *
sc_unit_position(const ScServed *served, int32 partition)
{
	for (int i = 0; i < served->npositions; i++)
	{
		/* Almost always they are numbered without holes. */
		int			guess = (partition + i) % served->npositions;

		if (served->positions[guess].partition == partition)
			return &served->positions[guess];
	}
	return NULL;
}

static void
make_parts(ScTask *task, MemoryContext cx)
{
	ScRollup   *rollup = task->rollup;

	task->nparts = rollup->nprogress;
	task->parts = MemoryContextAllocZero(cx, sizeof(ScPart) * Max(task->nparts, 1));
	for (int i = 0; i < task->nparts; i++)
	{
		ScPart	   *part = &task->parts[i];
		ScProgress *progress = &rollup->progress[i];

		part->partition = progress->partition;
		part->active = !progress->halted;
		part->next = part->new_next = progress->next_offset;
		part->rejected_in_row = part->new_rejected_in_row = progress->rejected_in_row;
		part->seen = progress->seen;
		part->other_at = -1;
		part->last_ms = -1;
	}
}

/* How far the task is behind the foremost, in messages. */
static int64
behind(const ScTask *task, List *tasks)
{
	int64		sum = 0;

	for (int i = 0; i < task->nparts; i++)
	{
		int64		most = task->parts[i].next;
		ListCell   *lc;

		foreach(lc, tasks)
		{
			ScPart	   *other = sc_task_part(lfirst(lc), task->parts[i].partition);

			if (other && other->active)
				most = Max(most, other->next);
		}
		if (task->parts[i].active)
			sum += most - task->parts[i].next;
	}
	return sum;
}

/* Those that would hold up the others get a worker of their own. */
static void
send_apart(ScServed *served)
{
	List	   *stay = NIL;
	int64		most = TimestampDifferenceExceeds(sc_stats_worker_joined_at(),
												  GetCurrentTimestamp(), JOINED_MS) ?
		APART_LAG : APART_LAG_JOINED;
	ListCell   *lc;

	if (OidIsValid(served->unit.rollup) || list_length(served->tasks) < 2)
		return;
	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);

		if (behind(task, served->tasks) <= most ||
			!sc_stats_set_apart(served->unit.stream, task->rollup->relid, "catching up"))
			stay = lappend(stay, task);
	}
	/* The way was made for all of them. */
	if (list_length(stay) < list_length(served->tasks))
		sc_unit_start_anew(DEBUG1, "a rollup is served apart until it has caught up");
}

static void
set_positions(ScServed *served, int npartitions)
{
	served->positions = MemoryContextAllocZero(served->cx, sizeof(ScPosition) * Max(npartitions, 1));
	served->npositions = 0;
	for (int p = 0; p < npartitions; p++)
	{
		ScPosition *position = &served->positions[served->npositions];
		int64		least = PG_INT64_MAX;
		ListCell   *lc;

		foreach(lc, served->tasks)
		{
			ScPart	   *part = sc_task_part(lfirst(lc), p);

			if (part && part->active)
				least = Min(least, part->next);
		}
		if (least == PG_INT64_MAX)
			continue;
		position->partition = p;
		position->next = least;
		position->end = position->high_watermark = position->low_watermark = -1;
		position->seen.offset = position->open_end = -1;
		position->moved_at = sc_clock_now();
		served->npositions++;
	}
}

void
sc_unit_resolve(ScServed *served, ScSource *source)
{
	MemoryContext old = MemoryContextSwitchTo(served->cx);
	ListCell   *lc;

	sc_starts_resolve(served, source);
	foreach(lc, served->tasks)
		make_parts(lfirst(lc), served->cx);
	send_apart(served);
	set_positions(served, served->topic_partitions);
	MemoryContextSwitchTo(old);
}
