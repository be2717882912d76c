/*-------------------------------------------------------------------------
 *
 * worker_watch.c
 *		Is the unit still what the worker has read?
 *
 * Invalidations and the word of a commit say that it may not be; then the
 * catalog is read again, and from time to time without being told.  What is
 * another one by now ends the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "stats.h"
#include "worker_private.h"

/* The catalog is read again at least this often, told or not. */
#define RECHECK_MS 60000
/* Where somebody else has locked the stream, it is looked at again this soon. */
#define LOCKED_RECHECK_MS 100
/* The word of a commit may come before its invalidations do. */
#define AGAIN_RECHECK_MS 1000
/* A restore under way tells nobody when it has ended. */
#define RESTORE_RECHECK_MS 1000

/* Set by invalidation callbacks: the unit may be defined otherwise now. */
static volatile bool stale = false;
/* The stream's oid and those of its rollups' objects; NIL: not known yet, any. */
static List *watched = NIL;

static void
relation_changed(Datum arg, Oid relid)
{
	if (watched == NIL || !OidIsValid(relid) || list_member_oid(watched, relid))
		stale = true;
}

static void
server_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	stale = true;
}

void
sc_worker_watch_begin(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, server_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, server_changed, (Datum) 0);
}

/* All of a rollup's objects: their owner is who runs its query. */
void
sc_worker_watch(const ScServed *served)
{
	ListCell   *lc;

	watched = list_make1_oid(served->unit.stream);
	foreach(lc, served->rollups)
	{
		ScRollup   *rollup = lfirst(lc);

		watched = lappend_oid(watched, rollup->relid);
		watched = lappend_oid(watched, rollup->query);
		watched = lappend_oid(watched, rollup->data);
	}
}

const volatile bool *
sc_worker_stale(void)
{
	return &stale;
}

long
sc_worker_recheck_interval(const ScWorker *w)
{
	if (w->locked)
		return LOCKED_RECHECK_MS;
	if (w->again)
		return AGAIN_RECHECK_MS;
	return w->served->restoring ? RESTORE_RECHECK_MS : RECHECK_MS;
}

void
sc_worker_recheck(ScWorker *w, TimestampTz now)
{
	bool		told = sc_stats_worker_told() || stale;

	if (!told && !TimestampDifferenceExceeds(w->rechecked_at, now, sc_worker_recheck_interval(w)))
		return;
	stale = false;
	w->again = told;
	w->rechecked_at = now;
	if (sc_unit_changed(w->served, &w->locked))
		sc_unit_start_anew(DEBUG1, "its definition was changed");
	/* What we were told of could not be read, and must be before anything is written. */
	if (w->locked && told)
		stale = true;
	if (w->served->restoring && !stale)
		sc_stats_worker_state(SC_STATE_RESTORING, "a restore is under way: a sentinel, a sequence's value or the unique index is missing");
}
