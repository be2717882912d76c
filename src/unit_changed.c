/*-------------------------------------------------------------------------
 *
 * unit_changed.c
 *		Has anything been committed that asks for a new start?
 *
 * What a unit was loaded from is put into one text, its signature, and compared
 * with that of the same a moment later.  Offsets are no part of it, since the
 * worker moves them itself: they are compared with where it left them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "stream.h"
#include "unit_private.h"

static void
sign_stream(StringInfo text, const ScStream *stream)
{
	Bitmapset  *all = bms_add_range(NULL, 1, Max(stream->natts, 1));

	appendStringInfo(text, "%s %d %d %d %u", sc_stream_fingerprint(stream, all),
					 stream->halt_on_error, stream->reject_limit, stream->skip_gaps,
					 stream->owner);
	/* Hashed, since secrets are among them. */
	for (int i = 0; i < stream->nproperties; i++)
		appendStringInfo(text, " %s %u", stream->properties[i].name,
						 string_hash(stream->properties[i].value,
									 strlen(stream->properties[i].value) + 1));
}

char *
sc_unit_sign(const ScStream *stream, List *rollups)
{
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	sign_stream(&text, stream);
	foreach(lc, rollups)
	{
		ScRollup   *r = lfirst(lc);

		appendStringInfo(&text, "\n%u %u %u %u %d %d %d %d %d %s", r->relid, r->query, r->data,
						 r->owner, r->logged, r->owners_differ, r->complete,
						 r->paused, r->halted, r->fingerprint);
	}
	return text.data;
}

/* Somebody else moved an offset (skip_to), or halted or resumed a partition. */
static bool
offsets_moved(const ScServed *served, List *rollups)
{
	ListCell   *lc,
			   *lc2;

	foreach(lc, served->tasks)
	{
		ScTask	   *task = lfirst(lc);

		foreach(lc2, rollups)
		{
			ScRollup   *now = lfirst(lc2);

			if (now->relid != task->rollup->relid)
				continue;
			for (int i = 0; i < now->nprogress; i++)
			{
				ScPart	   *part = sc_task_part(task, now->progress[i].partition);

				if (part == NULL || part->next != now->progress[i].next_offset ||
					part->active == now->progress[i].halted)
					return true;
			}
		}
	}
	return false;
}

/*
 * A restore makes the unique index last; where a rollup had it and has it no
 * more, somebody has dropped it, and does not know what for it was.
 */
static List *
halt_dismantled(const ScServed *served, List *rollups)
{
	List	   *halts = NIL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, served->tasks)
	{
		foreach(lc2, rollups)
		{
			ScRollup   *now = lfirst(lc2);

			if (now->relid == ((ScTask *) lfirst(lc))->rollup->relid && !now->complete)
				halts = lappend(halts, sc_unit_make_halt(now, "its data table has lost its unique constraint on the group keys, or the extension's tables their rows of it",
														 "Run ALTER TABLE ... ADD UNIQUE NULLS NOT DISTINCT (keys), then streamcount.resume()."));
		}
	}
	return halts;
}

typedef struct Comparison
{
	const ScServed *served;
	MemoryContext cx;			/* of what is found */
	bool		locked;
	bool		changed;
	List	   *halts;
} Comparison;

static void
compare(void *arg)
{
	Comparison *found = arg;
	const ScServed *served = found->served;
	MemoryContext old = MemoryContextSwitchTo(found->cx);

	/* A change may be under way, or committed this very moment: look again. */
	found->locked = !ConditionalLockRelationOid(served->unit.stream, AccessShareLock);
	if (!found->locked && !sc_unit_exists(&served->unit))
		found->changed = true;
	else if (!found->locked)
	{
		ScStream   *stream = sc_stream_load(served->unit.stream, true, found->cx);
		List	   *rollups = sc_unit_rollups(&served->unit, found->cx);

		found->changed = strcmp(sc_unit_sign(stream, rollups), served->signature) != 0 ||
			offsets_moved(served, rollups);
		found->halts = halt_dismantled(served, rollups);
	}
	MemoryContextSwitchTo(old);
}

bool
sc_unit_changed(const ScServed *served, bool *locked)
{
	Comparison	found = {.served = served,.cx = AllocSetContextCreate(CurrentMemoryContext, "streamcount recheck",
																	  ALLOCSET_DEFAULT_SIZES)};

	if (!sc_unit_look(compare, &found))
		found = (Comparison) {.cx = found.cx,.locked = true};
	*locked = found.locked;
	sc_unit_write_halts(found.halts);
	MemoryContextDelete(found.cx);
	return found.changed;
}
