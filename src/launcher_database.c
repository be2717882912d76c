/*-------------------------------------------------------------------------
 *
 * launcher_database.c
 *		Which databases there are, and when to look into which.
 *
 * Templates are left alone: a session in template1 fails every CREATE
 * DATABASE.  So is what allows no connection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "guc.h"
#include "launcher_private.h"
#include "stats_launch.h"

/* Milliseconds */
#define LIST_INTERVAL 60000
/* What a signal did not tell: a prepared transaction, a restored dump */
#define PROBE_INTERVAL 300000
#define PROBE_PATIENCE 30000
#define BACKOFF_FIRST 1000
#define BACKOFF_MOST 60000

typedef struct Database
{
	Oid			oid;
	char		name[NAMEDATALEN];
	bool		listed;
	bool		probing;
	int64		probe_at;
	int			failures;
	char		complaint[SC_REASON_LEN];	/* the last one logged */
} Database;

typedef struct Probe
{
	Oid			db;
	BackgroundWorkerHandle *handle; /* NULL: a free place */
	int64		give_up_at;
} Probe;

static HTAB *databases;
static Probe probes[SC_PROBES];
static int64 list_at = 0;
static bool was_enabled = false;

void
sc_launcher_databases_begin(void)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Database);
	ctl.hcxt = TopMemoryContext;
	databases = hash_create("streamcount databases", 64, &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
probe_all(int64 now)
{
	HASH_SEQ_STATUS scan;
	Database   *db;

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
		db->probe_at = Min(db->probe_at, now);
}

/* A complaint is logged when it is another than the last time. */
static void
complain(Database *db, const char *reason)
{
	if (sc_stats_is_reason(db->complaint, reason))
		return;
	sc_stats_put_reason(db->complaint, reason);
	if (*reason)
		ereport(LOG,
				(errmsg("could not look for rollups in database \"%s\": %s", db->name, reason),
				 errdetail("It is tried again, at least once a minute.")));
}

/* ---------------------------------------------------------------------
 * pg_database
 * --------------------------------------------------------------------- */

static void
note_database(Form_pg_database form, int64 now)
{
	Database   *db;
	bool		found;

	if (!form->datallowconn || form->datistemplate || sc_database_is_invalid(form))
		return;
	db = hash_search(databases, &form->oid, HASH_ENTER, &found);
	if (!found)
	{
		memset(db, 0, sizeof(*db));
		db->oid = form->oid;
		db->probe_at = now;
	}
	db->listed = true;
	strlcpy(db->name, NameStr(form->datname), NAMEDATALEN);
}

static void
read_pg_database(int64 now)
{
	MemoryContext turn = CurrentMemoryContext;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		note_database((Form_pg_database) GETSTRUCT(tuple), now);
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(turn);
}

static void
list_databases(int64 now)
{
	HASH_SEQ_STATUS scan;
	Database   *db;

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
		db->listed = false;
	read_pg_database(now);
	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
	{
		if (db->listed)
			continue;
		sc_stats_unwant(db->oid);
		hash_search(databases, &db->oid, HASH_REMOVE, NULL);
	}
	list_at = now + LIST_INTERVAL;
}

/* ---------------------------------------------------------------------
 * Probes
 * --------------------------------------------------------------------- */

static void
judge_probe(Database *db, ScProbeResult result, const char *reason, int64 now)
{
	int64		again = SC_NEVER;

	db->probing = false;
	switch (result)
	{
		case SC_PROBE_ASKED:
			again = now;
			break;
		case SC_PROBE_NO_EXTENSION:
		case SC_PROBE_EXTENSION:
			db->failures = 0;
			complain(db, "");
			if (result == SC_PROBE_EXTENSION)
				again = now + PROBE_INTERVAL;
			break;
		case SC_PROBE_UNKNOWN:
		case SC_PROBE_FAILED:
			complain(db, *reason ? reason : "the probe ended without an answer");
			again = now + sc_launcher_backoff(++db->failures, BACKOFF_FIRST, BACKOFF_MOST);
			break;
	}
	db->probe_at = Min(db->probe_at, again);
}

static void
reap_probe(int index, int64 now)
{
	Probe	   *probe = &probes[index];
	Database   *db;
	ScProbeResult result;
	char		reason[SC_REASON_LEN];
	pid_t		pid;

	if (probe->handle == NULL)
		return;
	if (GetBackgroundWorkerPid(probe->handle, &pid) != BGWH_STOPPED)
	{
		if (now >= probe->give_up_at)
		{
			sc_stats_probe_terminate(index);
			TerminateBackgroundWorker(probe->handle);
			probe->give_up_at = SC_NEVER;
		}
		return;
	}
	pfree(probe->handle);
	probe->handle = NULL;
	result = sc_stats_probe_take(index, reason);
	db = hash_search(databases, &probe->db, HASH_FIND, NULL);
	if (db != NULL)
		judge_probe(db, result, reason, now);
}

/*
 * Without a free background worker it stays due, and is the first to take
 * one that gets free.
 */
static bool
start_probe(int index, Database *db, int64 now)
{
	Probe	   *probe = &probes[index];
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "streamcount probe for database %u", db->oid);
	strlcpy(worker.bgw_type, "streamcount probe", BGW_MAXLEN);
	probe->db = db->oid;
	probe->handle = sc_launcher_start(&worker, "streamcount_probe_main", index,
									  sc_stats_probe_starting(index, db->oid));
	if (probe->handle == NULL)
	{
		complain(db, "all background workers of max_worker_processes are in use");
		return false;
	}
	probe->give_up_at = now + PROBE_PATIENCE;
	db->probing = true;
	db->probe_at = SC_NEVER;
	return true;
}

/* The one that has waited longest; *next: when the first of the others is due */
static Database *
choose_due(int64 now, int64 *next)
{
	HASH_SEQ_STATUS scan;
	Database   *db;
	Database   *chosen = NULL;

	hash_seq_init(&scan, databases);
	while ((db = hash_seq_search(&scan)) != NULL)
	{
		if (db->probing || db->probe_at == SC_NEVER || sc_stats_withdrawn(db->oid))
			continue;
		if (db->probe_at > now)
			*next = Min(*next, db->probe_at);
		else if (chosen == NULL || db->probe_at < chosen->probe_at)
			chosen = db;
	}
	return chosen;
}

/* ---------------------------------------------------------------------
 * A turn
 * --------------------------------------------------------------------- */

static void
take_signals(int64 now)
{
	bool		databases_changed;
	bool		all;
	List	   *changed = sc_stats_launcher_told(&databases_changed, &all);
	ListCell   *lc;

	foreach(lc, changed)
		databases_changed |= hash_search(databases, &lfirst_oid(lc), HASH_FIND, NULL) == NULL;
	if (databases_changed || now >= list_at)
		list_databases(now);
	foreach(lc, changed)
	{
		Database   *db = hash_search(databases, &lfirst_oid(lc), HASH_FIND, NULL);

		if (db != NULL)
			db->probe_at = Min(db->probe_at, now);
	}
	if (all || (sc_enabled && !was_enabled))
		probe_all(now);
	was_enabled = sc_enabled;
}

int64
sc_launcher_databases_turn(int64 now)
{
	int64		next;

	take_signals(now);
	next = list_at;
	for (int i = 0; i < SC_PROBES; i++)
	{
		reap_probe(i, now);
		if (probes[i].handle != NULL)
			next = Min(next, probes[i].give_up_at);
		else if (sc_enabled)
		{
			Database   *db = choose_due(now, &next);

			if (db != NULL && !start_probe(i, db, now))
				next = Min(next, now + BACKOFF_FIRST);
			else if (db != NULL)
				next = Min(next, probes[i].give_up_at);
		}
	}
	return next;
}

/*
 * Before a probe has looked, what we know may be old: the extension may be
 * gone, or the database just restored.
 */
const char *
sc_launcher_database_ready(Oid oid, int64 now)
{
	Database   *db = hash_search(databases, &oid, HASH_FIND, NULL);

	return db == NULL || db->probing || db->probe_at <= now ? NULL : db->name;
}
