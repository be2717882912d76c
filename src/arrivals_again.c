/*-------------------------------------------------------------------------
 *
 * arrivals_again.c
 *		Is what was read before still what is there?
 *
 * An offset says nothing of the message behind it.  A topic that was deleted
 * and made anew, or cut and written on by an unclean election, has all the
 * offsets of the old one as soon as it is long enough.  So the last message
 * that was read of each partition is noted with the offsets, and a worker
 * begins to read at that message, not behind it.  Where another one stands
 * there, the partition is halted.  Where none does, since Kafka has deleted
 * it, or it was compacted away, nothing can be told.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "arrivals.h"

/* As much of a payload or key as is looked at, beside its length. */
#define HASHED_BYTES 4096
/* After such a silence, at the end of a partition, its topic may be another one. */
#define SILENT_MS 1000
/* The client's own threads do it, if they get to run: asking again wakes them again. */
#define SEEK_MS 200
#define SEEKS 15

/*
 * FNV-1a.  It is stored, dumped and restored: it must be the same on every
 * machine, and in every version of PostgreSQL.
 */
static uint64
hash_bytes_on(uint64 hash, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char) bytes[i]) * UINT64CONST(0x100000001b3);
	return hash;
}

static uint64
hash_number_on(uint64 hash, uint64 number)
{
	char		bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (char) (number >> (8 * i));
	return hash_bytes_on(hash, bytes, 8);
}

static int64
hash_of(const ScMessage *message)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	hash = hash_number_on(hash, message->timestamp_ms);
	hash = hash_number_on(hash, message->key ? message->key_len + 1 : 0);
	hash = hash_bytes_on(hash, message->key, message->key ? Min(message->key_len, HASHED_BYTES) : 0);
	hash = hash_number_on(hash, message->payload ? message->payload_len + 1 : 0);
	hash = hash_bytes_on(hash, message->payload,
						 message->payload ? Min(message->payload_len, HASHED_BYTES) : 0);
	return (int64) hash;
}

/* Once for all messages of a partition that came together: the last one tells. */
void
sc_arrivals_note_seen(ScServed *served)
{
	for (int i = 0; i < served->npositions; i++)
	{
		ScPosition *position = &served->positions[i];

		if (position->lent == NULL)
			continue;
		position->seen.offset = position->lent->offset;
		position->seen.hash = hash_of(position->lent);
		position->lent = NULL;
	}
}

/*
 * Where to begin, so that every task meets the message that it read last;
 * those that Kafka has deleted are not looked for.
 */
int64
sc_arrivals_begin(const ScServed *served, ScPosition *position)
{
	int64		begin = position->next;
	ListCell   *lc;

	position->compare_end = 0;
	foreach(lc, served->tasks)
	{
		const ScPart *part = sc_task_part(lfirst(lc), position->partition);

		if (part == NULL || !part->active || part->seen.offset < Max(position->low_watermark, 0))
			continue;
		begin = Min(begin, part->seen.offset);
		position->compare_end = Max(position->compare_end, part->seen.offset + 1);
	}
	return begin;
}

bool
sc_arrivals_is_same(const ScServed *served, const ScMessage *message)
{
	bool		same = true;
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScPart	   *part = sc_task_part(lfirst(lc), message->partition);

		if (part == NULL || !part->active || part->seen.offset != message->offset)
			continue;
		if (part->seen.hash == hash_of(message))
			part->last_ms = message->timestamp_ms;
		else
		{
			part->other_at = message->offset;
			same = false;
		}
	}
	return same;
}

void
sc_arrivals_halt_others(const ScServed *served, int32 partition)
{
	ListCell   *lc;

	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);
		const ScPart *part = sc_task_part(task, partition);

		if (part == NULL || part->other_at < 0)
			continue;
		sc_arrivals_halt(task, part,
						 psprintf("message at offset " INT64_FORMAT " is another one than was read: the topic was made anew or cut",
								  part->other_at),
						 psprintf("Drop and create the rollup to count the new topic, or run streamcount.skip_to(rollup, %d, " INT64_FORMAT ") to keep its counts and go on from there.",
								  partition, part->next));
	}
	sc_unit_start_anew(DEBUG1, "a partition is halted");
}

/*
 * A topic may be deleted and made anew so quickly that no broker ever says
 * that it is missing: then the client goes on reading the new one.  That takes
 * some time, in which nothing comes of the old one.
 */
bool
sc_arrivals_must_look_back(ScServed *served, ScPosition *position, TimestampTz now)
{
	if (position->looked_back ||
		!TimestampDifferenceExceeds(position->moved_at, now, SILENT_MS) ||
		sc_arrivals_begin(served, position) == position->next)
		return false;
	return served->look_back = position->look_back = true;
}

/* Why it did not go back; NULL: it did.  Nothing is taken meanwhile, so going back twice is as good. */
static const char *
go_back(ScSource *source, int n, const int32 *partitions, const int64 *offsets)
{
	const char *error = NULL;

	for (int i = 0; i < SEEKS; i++)
	{
		error = sc_source_seek(source, n, partitions, offsets, SEEK_MS);
		if (error == NULL)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	return error;
}

/* Where something is to come, its first message will ask for it. */
static bool
is_due(const ScPosition *position, bool asked_for)
{
	if (asked_for)
		return position->look_back;
	return !position->look_back && position->at_end && !position->leaderless &&
		position->high_watermark <= position->next;
}

/*
 * Where it was asked for, messages were left that have to come again, so
 * nothing of what came with them may be left; else it may as well be done later.
 */
void
sc_arrivals_look_back(ScServed *served, ScSource *source, bool asked_for)
{
	int32	   *partitions = palloc(sizeof(int32) * Max(served->npositions, 1));
	int64	   *offsets = palloc(sizeof(int64) * Max(served->npositions, 1));
	int			n = 0;
	const char *error = NULL;

	for (int i = 0; i < served->npositions; i++)
	{
		ScPosition *position = &served->positions[i];

		if (!is_due(position, asked_for))
			continue;
		offsets[n] = sc_arrivals_begin(served, position);
		/* What was left comes again, even where there is nothing to compare any more. */
		if (asked_for || offsets[n] < position->next)
			partitions[n++] = position->partition;
	}
	if (n > 0)
		error = go_back(source, n, partitions, offsets);
	if (error && asked_for)
		sc_unit_start_anew(DEBUG1, psprintf("the client did not go back to an earlier offset: %s", error));
	for (int i = 0; error == NULL && i < served->npositions; i++)
	{
		ScPosition *position = &served->positions[i];

		if (!is_due(position, asked_for))
			continue;
		/* Only until something is taken: a look at rest says nothing of what comes later. */
		position->looked_back = asked_for;
		position->look_back = false;
	}
	if (asked_for)
		served->look_back = false;
	pfree(partitions);
	pfree(offsets);
}
