/*-------------------------------------------------------------------------
 *
 * starts.c
 *		Where rollups begin to read: symbols made numbers, and committed.
 *
 * "latest" and times are resolved once, before the first read, and only the
 * numbers count from then on: a symbol that is resolved again after a crash
 * would skip what came between.  A partition that appears later is read
 * from its beginning, whatever the start, for all of it came later.  So is a
 * topic that was missing when the rollup was there: that is committed, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "starts.h"
#include "stream.h"
#include "unit_private.h"

/* While all wait for the answer, a question is repeated so often; later it comes again. */
#define START_TRIES 3
#define ANSWER_TIMEOUT_MS 1000

/* What is not known of a cluster tells it from no other. */
static bool
was_missing(const ScRollup *rollup, const char *topic, const char *cluster)
{
	return rollup->missing_topic && strcmp(rollup->missing_topic, topic) == 0 &&
		(cluster == NULL || rollup->missing_in == NULL || strcmp(rollup->missing_in, cluster) == 0);
}

typedef struct Missing
{
	ScRollup   *rollup;
	const char *topic;
	const char *cluster;
} Missing;

static void
write_missing(void *arg)
{
	Missing    *missing = arg;

	SPI_connect();
	sc_ledger_note_missing(missing->rollup, missing->topic, missing->cluster);
	SPI_finish();
}

/* Where somebody holds a lock on it, the next answer that it is missing comes soon. */
void
sc_starts_note_missing(ScServed *served, ScSource *source)
{
	Missing		missing = {.topic = served->stream->topic,
	.cluster = sc_source_cluster_id(source, ANSWER_TIMEOUT_MS)};
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		missing.rollup = ((ScTask *) lfirst(lc))->rollup;
		if (missing.rollup->nprogress > 0 ||
			was_missing(missing.rollup, missing.topic, missing.cluster) ||
			!sc_unit_look(write_missing, &missing))
			continue;
		missing.rollup->missing_topic = missing.topic;
		missing.rollup->missing_in = missing.cluster;
	}
}

typedef struct Asking
{
	ScServed   *served;
	ScSource   *source;
	int			tries;
	const char *error;			/* what was told in place of offsets */
} Asking;

static bool
ask_offsets(Asking *a, int n, const int32 *partitions, int64 timestamp_ms, int64 *offsets)
{
	for (int i = 0; i < a->tries; i++)
	{
		TimestampTz asked_at = sc_clock_now();

		if (sc_source_offsets(a->source, n, partitions, timestamp_ms, offsets,
							  ANSWER_TIMEOUT_MS, &a->error))
			return true;
		if (i + 1 < a->tries)
			sc_source_pause(asked_at);
	}
	return false;
}

/* Where a rollup that has read nothing begins, for each of n partitions. */
static bool
resolve_start(Asking *a, const ScRollup *rollup, int n, const int32 *partitions, int64 *offsets)
{
	ScStart		start = rollup->start ? sc_stream_parse_start(rollup->start) :
		a->served->stream->start;
	int64		time = SC_OFFSET_EARLIEST;

	if (start.kind == SC_START_LATEST &&
		!was_missing(rollup, a->served->stream->topic,
					 sc_source_cluster_id(a->source, ANSWER_TIMEOUT_MS)))
		time = SC_OFFSET_LATEST;
	else if (start.kind == SC_START_TIMESTAMP)
		time = start.timestamp_ms;
	if (!ask_offsets(a, n, partitions, time, offsets))
		return false;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < start.noffsets; j++)
			if (start.partitions[j] == partitions[i])
				offsets[i] = start.offsets[j];
	return true;
}

/* Keeps those that are answered for, and returns how many. */
static int
ask_oldest(Asking *a, int n, int32 *partitions, int64 *offsets)
{
	int			answered = 0;

	if (ask_offsets(a, n, partitions, SC_OFFSET_EARLIEST, offsets))
		return n;
	sc_source_offsets_alone(a->source, n, partitions, SC_OFFSET_EARLIEST, offsets,
							ANSWER_TIMEOUT_MS);
	for (int i = 0; i < n; i++)
		if (offsets[i] >= 0)
		{
			partitions[answered] = partitions[i];
			offsets[answered++] = offsets[i];
		}
	return answered;
}

static bool
has_partition(const ScRollup *rollup, int32 partition)
{
	for (int i = 0; i < rollup->nprogress; i++)
		if (rollup->progress[i].partition == partition)
			return true;
	return false;
}

/* Commit the beginnings of one rollup's new partitions, all of them at once. */
static void
commit_beginnings(ScRollup *rollup, int n, const int32 *partitions, const int64 *offsets,
				  const char *cluster)
{
	bool		dropped = false;

	sc_ledger_start(rollup->relid);
	for (int i = 0; i < n && !dropped; i++)
		dropped = !sc_ledger_begin_partition(rollup, partitions[i], offsets[i], cluster);
	sc_ledger_commit();
	if (dropped)
		sc_unit_start_anew(DEBUG1, "a rollup was dropped before it had begun");

	rollup->progress = rollup->nprogress == 0 ? palloc(sizeof(ScProgress) * n) :
		repalloc(rollup->progress, sizeof(ScProgress) * (rollup->nprogress + n));
	for (int i = 0; i < n; i++)
	{
		ScProgress *progress = &rollup->progress[rollup->nprogress++];

		memset(progress, 0, sizeof(ScProgress));
		progress->partition = partitions[i];
		progress->start_offset = progress->next_offset = offsets[i];
		progress->seen.offset = -1;
	}
}

/* Why it has not begun everywhere, for the views. */
static void
note_not_begun(ScServed *served, ScTask *task, const char *reason)
{
	char	   *before = task->not_begun;

	task->not_begun = reason ? MemoryContextStrdup(served->cx, reason) : NULL;
	if (before != NULL)
		pfree(before);
	else
		task->not_begun_since = GetCurrentTimestamp();
}

/*
 * Begin what can be begun of one rollup: how many partitions.  One that has
 * read nothing begins everywhere or nowhere, for "latest" and times mean one
 * moment.  One that has leaves out what nobody can tell about, which will be
 * read from its beginning whenever that is known.
 */
static int
begin_rollup(Asking *a, ScTask *task)
{
	ScRollup   *rollup = task->rollup;
	int			npartitions = a->served->topic_partitions;
	int32	   *partitions = palloc(sizeof(int32) * npartitions);
	int64	   *offsets = palloc(sizeof(int64) * npartitions);
	int32		leaderless = -1;
	char		reason[SC_REASON_LEN];
	int			led = 0;
	int			begun = 0;

	for (int p = npartitions - 1; p >= 0; p--)
	{
		if (has_partition(rollup, p))
			continue;
		if (sc_source_is_led(a->source, p))
			partitions[led++] = p;
		else
			leaderless = p;
	}
	if (led > 0 && rollup->nprogress > 0)
		begun = ask_oldest(a, led, partitions, offsets);
	else if (led > 0 && leaderless < 0 && resolve_start(a, rollup, led, partitions, offsets))
		begun = led;
	if (begun > 0)
		commit_beginnings(rollup, begun, partitions, offsets,
						  sc_source_cluster_id(a->source, ANSWER_TIMEOUT_MS));
	if (leaderless >= 0)
		snprintf(reason, sizeof(reason), "not begun yet: no broker leads partition %d", leaderless);
	else
		snprintf(reason, sizeof(reason), "not begun yet: offsets could not be asked for: %s", a->error);
	note_not_begun(a->served, task, leaderless >= 0 || begun < led ? reason : NULL);
	pfree(partitions);
	pfree(offsets);
	return begun;
}

/* Of all rollups. */
static int
begin_all(ScServed *served, ScSource *source, int tries)
{
	int			begun = 0;
	ListCell   *lc;

	served->not_begun = false;
	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);
		Asking		a = {.served = served,.source = source,.tries = tries};

		begun += begin_rollup(&a, task);
		served->not_begun |= task->not_begun != NULL;
	}
	return begun;
}

/* Offsets mean nothing in another cluster, nor where the partition is gone. */
static void
halt_misfits(ScRollup *rollup, int npartitions, const char *cluster)
{
	for (int i = 0; i < rollup->nprogress; i++)
	{
		ScProgress *progress = &rollup->progress[i];
		const char *reason = NULL;
		const char *hint = "Drop and create the rollup to count the new topic.";

		if (progress->halted)
			continue;
		if (progress->partition >= npartitions)
			reason = psprintf("the topic has no partition %d any more: it was made anew",
							  progress->partition);
		else if (cluster && progress->cluster && strcmp(cluster, progress->cluster) != 0)
		{
			reason = psprintf("the offsets are of Kafka cluster %s, the brokers are of cluster %s",
							  progress->cluster, cluster);
			hint = "If the offsets mean the same messages there, run streamcount.resume(); else drop and create the rollup.";
		}
		if (reason == NULL)
			continue;
		if (!sc_ledger_halt_at(rollup->relid, progress->partition, progress->next_offset, reason, hint))
			sc_unit_start_anew(DEBUG1, "a partition was moved while its rollup was begun");
		progress->halted = true;
	}
}

static int
by_partition(const void *a, const void *b)
{
	return ((const ScProgress *) a)->partition - ((const ScProgress *) b)->partition;
}

void
sc_starts_resolve(ScServed *served, ScSource *source)
{
	const char *cluster = sc_source_cluster_id(source, ANSWER_TIMEOUT_MS);
	ListCell   *lc;

	foreach(lc, served->tasks)
		halt_misfits(((ScTask *) lfirst(lc))->rollup, served->topic_partitions, cluster);
	(void) begin_all(served, source, START_TRIES);
	foreach(lc, served->tasks)
	{
		ScRollup   *rollup = ((ScTask *) lfirst(lc))->rollup;
		bool		unpinned = false;

		if (rollup->nprogress > 1)
			qsort(rollup->progress, rollup->nprogress, sizeof(ScProgress), by_partition);
		for (int i = 0; i < rollup->nprogress; i++)
			if (rollup->progress[i].cluster == NULL)
				unpinned = true;
		if (cluster && unpinned)
		{
			sc_ledger_start(rollup->relid);
			sc_ledger_pin_cluster(rollup, cluster);
			sc_ledger_commit();
		}
	}
}

bool
sc_starts_begin_rest(ScServed *served, ScSource *source)
{
	return served->not_begun && begin_all(served, source, 1) > 0;
}
