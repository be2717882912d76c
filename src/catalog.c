/*-------------------------------------------------------------------------
 *
 * catalog.c
 *		The definitions of rollups, and how far each has come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "compat.h"
#include "identity.h"

/* ---------------------------------------------------------------------
 * Single objects
 * --------------------------------------------------------------------- */

Oid
sc_catalog_owner(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("streamcount"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" is not installed in this database", "streamcount"),
				 errhint("Run CREATE EXTENSION streamcount.")));
	return owner;
}

static Oid
schema(void)
{
	return get_namespace_oid(SC_SCHEMA, true);
}

const char *
sc_catalog_function_name(Oid function)
{
	return get_func_namespace(function) == schema() ? get_func_name(function) : NULL;
}

bool
sc_catalog_is_windows(Oid function)
{
	const char *name = sc_catalog_function_name(function);

	return name != NULL && strcmp(name, "windows") == 0;
}

bool
sc_catalog_is_internal(Oid function)
{
	HeapTuple	tuple;
	bool		internal;

	if (function >= FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	internal = HeapTupleIsValid(tuple) &&
		((Form_pg_proc) GETSTRUCT(tuple))->prolang == INTERNALlanguageId;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return internal;
}

/* No privilege is needed to be told that a relation is a rollup. */
bool
sc_catalog_is_rollup(Oid relid)
{
	Oid			catalog = get_relname_relid("rollup_catalog", schema());
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	if (!OidIsValid(catalog))
		return false;
	rel = table_open(catalog, AccessShareLock);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, sc_primary_key_index(rel), true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

int
sc_catalog_array_length(Datum array)
{
	ArrayType  *a = DatumGetArrayTypeP(array);

	return ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
}

/* The registered function that merges two results of an aggregate, as SQL. */
const char *
sc_catalog_merge(Oid aggregate)
{
	MemoryContext caller = CurrentMemoryContext;
	ScIdentity	saved;
	char	   *merge = NULL;
	Oid			argtypes[] = {OIDOID};
	Datum		args[] = {ObjectIdGetDatum(aggregate)};

	sc_identity_enter_owner(&saved);
	SPI_connect();
	if (SPI_execute_with_args("SELECT pg_catalog.format('%I.%I', n.nspname, p.proname)"
							  " FROM streamcount.merges m"
							  " JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=)"
							  "  pg_catalog.to_regprocedure(m.merge)"
							  " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace"
							  " WHERE pg_catalog.to_regprocedure(m.aggregate) OPERATOR(pg_catalog.=) $1",
							  1, argtypes, args, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read streamcount.merges");
	if (SPI_processed == 1)
	{
		char	   *function = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		StringInfoData escaped;
		MemoryContext spi = MemoryContextSwitchTo(caller);

		initStringInfo(&escaped);
		for (char *p = function; *p; p++)
			appendStringInfoString(&escaped, *p == '%' ? "%%" : (char[]) {*p, '\0'});
		merge = psprintf("COALESCE(%s(%%1$s, %%2$s), %%1$s, %%2$s)", escaped.data);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	sc_identity_leave(&saved);
	return merge;
}

/* ---------------------------------------------------------------------
 * Rollups
 * --------------------------------------------------------------------- */

#define ROLLUP_COLUMNS \
	"SELECT c.rollup::pg_catalog.oid, c.query::pg_catalog.oid, c.data::pg_catalog.oid," \
	" c.stream::pg_catalog.oid, v.relowner, pg_catalog.format('%I.%I', n.nspname, v.relname)," \
	" c.start_at, c.fingerprint, c.settings," \
	" (q.relowner OPERATOR(pg_catalog.<>) v.relowner OR d.relowner OPERATOR(pg_catalog.<>) v.relowner)," \
	" EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) d.oid" \
	"  AND i.indisunique AND i.indnullsnotdistinct AND i.indisvalid AND i.indisready)" \
	" AND EXISTS (SELECT FROM streamcount.left_out_data l" \
	"  WHERE l.rollup OPERATOR(pg_catalog.=) c.rollup AND l.partition OPERATOR(pg_catalog.=) -1)" \
	" AND COALESCE(pg_catalog.pg_sequence_last_value('streamcount.left_out_data_id_seq') OPERATOR(pg_catalog.>=)" \
	"  (SELECT pg_catalog.max(l.id) FROM streamcount.left_out_data l), false), c.xmin," \
	" d.relpersistence OPERATOR(pg_catalog.=) 'p'" \
	" FROM streamcount.rollup_catalog c" \
	" JOIN pg_catalog.pg_class v ON v.oid OPERATOR(pg_catalog.=) c.rollup" \
	" JOIN pg_catalog.pg_class q ON q.oid OPERATOR(pg_catalog.=) c.query" \
	" JOIN pg_catalog.pg_class d ON d.oid OPERATOR(pg_catalog.=) c.data" \
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) v.relnamespace"

#define PROGRESS_COLUMNS \
	"SELECT partition, start_offset, next_offset, rejected_in_row, state, cluster," \
	" last_offset, last_hash, missing_topic" \
	" FROM streamcount.rollup_progress WHERE rollup OPERATOR(pg_catalog.=) $1 ORDER BY partition"

static Datum
field(int row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

static char *
field_text(int row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

static List *
text_array_to_list(Datum array)
{
	Datum	   *elems;
	int			nelems;
	List	   *list = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, NULL, &nelems);
	for (int i = 0; i < nelems; i++)
		list = lappend(list, TextDatumGetCString(elems[i]));
	return list;
}

static char *
copy_text(int row, int column, MemoryContext cx)
{
	char	   *value = field_text(row, column);

	return value ? MemoryContextStrdup(cx, value) : NULL;
}

static void
read_rollup(ScRollup *rollup, int row, MemoryContext cx)
{
	bool		isnull;
	MemoryContext old;

	rollup->relid = DatumGetObjectId(field(row, 1, &isnull));
	rollup->query = DatumGetObjectId(field(row, 2, &isnull));
	rollup->data = DatumGetObjectId(field(row, 3, &isnull));
	rollup->stream = DatumGetObjectId(field(row, 4, &isnull));
	rollup->owner = DatumGetObjectId(field(row, 5, &isnull));
	rollup->name = copy_text(row, 6, cx);
	rollup->start = copy_text(row, 7, cx);
	rollup->fingerprint = copy_text(row, 8, cx);
	rollup->owners_differ = DatumGetBool(field(row, 10, &isnull));
	rollup->complete = DatumGetBool(field(row, 11, &isnull));
	rollup->version = DatumGetTransactionId(field(row, 12, &isnull));
	rollup->logged = DatumGetBool(field(row, 13, &isnull));
	old = MemoryContextSwitchTo(cx);
	rollup->settings = text_array_to_list(field(row, 9, &isnull));
	MemoryContextSwitchTo(old);
}

/* Partition -1 is the sentinel: it has the state of the rollup as a whole. */
static void
read_progress(ScRollup *rollup, MemoryContext cx)
{
	Oid			argtypes[] = {OIDOID};
	Datum		args[] = {ObjectIdGetDatum(rollup->relid)};
	bool		sentinel = false;

	if (SPI_execute_with_args(PROGRESS_COLUMNS, 1, argtypes, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read streamcount.rollup_progress");
	rollup->progress = MemoryContextAllocZero(cx, sizeof(ScProgress) * (SPI_processed + 1));
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		ScProgress *p = &rollup->progress[rollup->nprogress];
		bool		isnull;
		char	   *state = field_text(row, 5);

		p->partition = DatumGetInt32(field(row, 1, &isnull));
		p->paused = state && strcmp(state, "paused") == 0;
		p->halted = state && strcmp(state, "halted") == 0;
		if (p->partition < 0)
		{
			sentinel = true;
			rollup->paused = p->paused;
			rollup->halted = p->halted;
			rollup->missing_in = copy_text(row, 6, cx);
			rollup->missing_topic = copy_text(row, 9, cx);
			continue;
		}
		p->start_offset = DatumGetInt64(field(row, 2, &isnull));
		p->next_offset = DatumGetInt64(field(row, 3, &isnull));
		p->rejected_in_row = DatumGetInt32(field(row, 4, &isnull));
		p->cluster = copy_text(row, 6, cx);
		p->seen.offset = DatumGetInt64(field(row, 7, &isnull));
		p->seen.hash = DatumGetInt64(field(row, 8, &isnull));
		/* Offsets that somebody has moved back are to be read again. */
		if (p->seen.offset >= p->next_offset)
			p->seen.offset = -1;
		rollup->nprogress++;
	}
	if (!sentinel)
		rollup->complete = false;
}

static List *
load(const char *condition, Oid oid, MemoryContext cx)
{
	Oid			argtypes[] = {OIDOID};
	Datum		args[] = {ObjectIdGetDatum(oid)};
	char	   *sql = psprintf("%s WHERE c.%s OPERATOR(pg_catalog.=) $1 ORDER BY 1",
							   ROLLUP_COLUMNS, condition);
	List	   *rollups = NIL;
	ScIdentity	saved;
	MemoryContext old;
	ListCell   *lc;

	sc_identity_enter_owner(&saved);
	SPI_connect();
	if (SPI_execute_with_args(sql, 1, argtypes, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read streamcount.rollup_catalog");
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		ScRollup   *rollup = MemoryContextAllocZero(cx, sizeof(ScRollup));

		read_rollup(rollup, row, cx);
		old = MemoryContextSwitchTo(cx);
		rollups = lappend(rollups, rollup);
		MemoryContextSwitchTo(old);
	}
	foreach(lc, rollups)
		read_progress(lfirst(lc), cx);
	SPI_finish();
	sc_identity_leave(&saved);
	return rollups;
}

List *
sc_catalog_rollups(Oid stream, MemoryContext cx)
{
	return load("stream", stream, cx);
}

ScRollup *
sc_catalog_rollup(Oid relid, MemoryContext cx)
{
	List	   *rollups = load("rollup", relid, cx);

	return rollups == NIL ? NULL : linitial(rollups);
}
