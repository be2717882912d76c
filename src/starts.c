/*-------------------------------------------------------------------------
 *
 * starts.c
 *		Where rollups begin to read: symbols made numbers, and committed.
 *
 * "latest" and times are resolved once, before the first read, and only the
 * numbers count from then on: a symbol that is resolved again after a crash
 * would skip what came between.  A partition that appears later is read
 * from its beginning, whatever the start, for all of it came later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "clock.h"
#include "starts.h"
#include "stream.h"

/* A broker question is repeated so often. */
#define ANSWER_TRIES 30
#define ANSWER_TIMEOUT_MS 1000

static bool topic_was_missing = false;

void
sc_starts_topic_was_missing(void)
{
	topic_was_missing = true;
}

static void
ask_offsets(ScSource *source, const ScStream *stream, int n, const int32 *partitions,
			int64 timestamp_ms, int64 *offsets)
{
	const char *error = NULL;

	for (int i = 0; i < ANSWER_TRIES; i++)
	{
		TimestampTz asked_at = sc_clock_now();

		if (sc_source_offsets(source, n, partitions, timestamp_ms, offsets,
							  ANSWER_TIMEOUT_MS, &error))
			return;
		sc_source_pause(asked_at);
	}
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("could not ask for offsets of Kafka topic \"%s\": %s", stream->topic,
					error ? error : "no answer")));
}

/* Where a rollup that has read nothing begins, for each of n partitions. */
static void
resolve_start(ScServed *served, ScSource *source, const ScRollup *rollup,
			  int n, const int32 *partitions, int64 *offsets)
{
	ScStart		start = rollup->start ? sc_stream_parse_start(rollup->start) :
		served->stream->start;
	int64		time = SC_OFFSET_EARLIEST;

	if (start.kind == SC_START_LATEST && !topic_was_missing)
		time = SC_OFFSET_LATEST;
	else if (start.kind == SC_START_TIMESTAMP)
		time = start.timestamp_ms;
	ask_offsets(source, served->stream, n, partitions, time, offsets);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < start.noffsets; j++)
			if (start.partitions[j] == partitions[i])
				offsets[i] = start.offsets[j];
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
begin_partitions(ScServed *served, ScSource *source, ScRollup *rollup,
				 int npartitions, const char *cluster)
{
	int32	   *partitions = palloc(sizeof(int32) * npartitions);
	int64	   *offsets = palloc(sizeof(int64) * npartitions);
	int			n = 0;

	for (int p = 0; p < npartitions; p++)
		if (!has_partition(rollup, p))
			partitions[n++] = p;
	if (n == 0)
		return;
	if (rollup->nprogress == 0)
		resolve_start(served, source, rollup, n, partitions, offsets);
	else
		ask_offsets(source, served->stream, n, partitions, SC_OFFSET_EARLIEST, offsets);

	sc_ledger_start();
	for (int i = 0; i < n; i++)
		sc_ledger_begin_partition(rollup, partitions[i], offsets[i], cluster);
	sc_ledger_commit();

	rollup->progress = rollup->nprogress == 0 ? palloc0(sizeof(ScProgress) * npartitions) :
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
sc_starts_resolve(ScServed *served, ScSource *source, int npartitions)
{
	const char *cluster = sc_source_cluster_id(source, ANSWER_TIMEOUT_MS);
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScRollup   *rollup = ((ScTask *) lfirst(lc))->rollup;
		bool		unpinned = false;

		halt_misfits(rollup, npartitions, cluster);
		begin_partitions(served, source, rollup, npartitions, cluster);
		qsort(rollup->progress, rollup->nprogress, sizeof(ScProgress), by_partition);
		for (int i = 0; i < rollup->nprogress; i++)
			if (rollup->progress[i].cluster == NULL)
				unpinned = true;
		if (cluster && unpinned)
		{
			sc_ledger_start();
			sc_ledger_pin_cluster(rollup, cluster);
			sc_ledger_commit();
		}
	}
}
