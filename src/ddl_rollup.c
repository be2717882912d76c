/*-------------------------------------------------------------------------
 *
 * ddl_rollup.c
 *		What DROP and CREATE OR REPLACE mean for the objects of a rollup.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "identity.h"
#include "stats.h"

PG_FUNCTION_INFO_V1(streamcount_refuse_write);
PG_FUNCTION_INFO_V1(streamcount_objects_dropped);
PG_FUNCTION_INFO_V1(streamcount_views_changed);
PG_FUNCTION_INFO_V1(streamcount_check_merge);
PG_FUNCTION_INFO_V1(streamcount_catalog_written);

static void
check_trigger(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger", name)));
}

static void
check_event(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as an event trigger", name)));
}

/* INSTEAD OF trigger on every rollup: what it shows is counted, not written. */
Datum
streamcount_refuse_write(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	check_trigger(fcinfo, "refuse_write");
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot write to the rollup \"%s\"",
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("Its rows are counted from the messages of its stream."),
			 errhint("Produce messages to the topic; or correct the data table, knowing that the rollup is then no longer its query.")));
	PG_RETURN_NULL();
}

/* Statement trigger on the catalog: rollups have come or gone. */
Datum
streamcount_catalog_written(PG_FUNCTION_ARGS)
{
	check_trigger(fcinfo, "catalog_written");
	sc_stats_changed_at_commit();
	PG_RETURN_POINTER(NULL);
}

/* ---------------------------------------------------------------------
 * sql_drop
 * --------------------------------------------------------------------- */

typedef struct Dropped
{
	Oid			rollup;
	Oid			query;
	Oid			data;
	Oid			stream;
	bool		view_dropped;	/* else only the query view is gone */
} Dropped;

#define DROPPED \
	"SELECT c.rollup::pg_catalog.oid, c.query::pg_catalog.oid, c.data::pg_catalog.oid," \
	" c.stream::pg_catalog.oid, pg_catalog.bool_or(o.objid OPERATOR(pg_catalog.=) c.rollup)" \
	" FROM streamcount.rollup_catalog c" \
	" JOIN pg_catalog.pg_event_trigger_dropped_objects() o" \
	"  ON o.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass" \
	"  AND o.objsubid OPERATOR(pg_catalog.=) 0" \
	"  AND (o.objid OPERATOR(pg_catalog.=) c.rollup OR o.objid OPERATOR(pg_catalog.=) c.query" \
	"   OR o.objid OPERATOR(pg_catalog.=) c.data)" \
	" GROUP BY 1, 2, 3, 4 ORDER BY 3"

static Oid
oid_field(uint64 row, int column)
{
	bool		isnull;

	return DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
										  column, &isnull));
}

static Dropped *
read_dropped(uint64 *n)
{
	Dropped    *dropped;
	bool		isnull;

	if (SPI_execute(DROPPED, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read streamcount.rollup_catalog");
	*n = SPI_processed;
	dropped = palloc(sizeof(Dropped) * (*n + 1));
	for (uint64 i = 0; i < *n; i++)
	{
		dropped[i].rollup = oid_field(i, 1);
		dropped[i].query = oid_field(i, 2);
		dropped[i].data = oid_field(i, 3);
		dropped[i].stream = oid_field(i, 4);
		dropped[i].view_dropped = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i],
															 SPI_tuptable->tupdesc, 5, &isnull));
	}
	return dropped;
}

static void
forget(Oid rollup)
{
	static const char *const tables[] = {"rollup_catalog", "rollup_progress", "left_out_data"};
	Oid			argtype = OIDOID;
	Datum		arg = ObjectIdGetDatum(rollup);

	for (int i = 0; i < (int) lengthof(tables); i++)
		if (SPI_execute_with_args(psprintf("DELETE FROM streamcount.%s"
										   " WHERE rollup OPERATOR(pg_catalog.=) $1", tables[i]),
								  1, &argtype, &arg, NULL, false, 0) != SPI_OK_DELETE)
			elog(ERROR, "could not write streamcount.%s", tables[i]);
	sc_stats_live_forget(rollup);
}

/* The companions that are still there go with the rollup, unless something needs them. */
static void
drop_companions(const Dropped *dropped, Oid user)
{
	ObjectAddresses *objects = new_object_addresses();
	Oid			companions[] = {dropped->query, dropped->data};

	for (int i = 0; i < (int) lengthof(companions); i++)
	{
		ObjectAddress object;

		if (get_rel_name(companions[i]) == NULL)
			continue;
		if (!sc_owns_relation(companions[i], user))
		{
			ereport(NOTICE,
					(errmsg("\"%s\" stays: it belongs to somebody else", get_rel_name(companions[i]))));
			continue;
		}
		ObjectAddressSet(object, RelationRelationId, companions[i]);
		add_exact_object_address(&object, objects);
	}
	performMultipleDeletions(objects, DROP_RESTRICT, 0);
	free_object_addresses(objects);
}

Datum
streamcount_objects_dropped(PG_FUNCTION_ARGS)
{
	ScIdentity	saved;
	Dropped    *dropped;
	uint64		n;

	check_event(fcinfo, "objects_dropped");
	sc_identity_enter_owner(&saved);
	SPI_connect();
	dropped = read_dropped(&n);

	/* Data before progress, as a flush takes them: else each waits for the other. */
	for (uint64 i = 0; i < n; i++)
		if (dropped[i].view_dropped)
			LockRelationOid(dropped[i].data, AccessExclusiveLock);
	for (uint64 i = 0; i < n; i++)
		forget(dropped[i].rollup);
	for (uint64 i = 0; i < n; i++)
	{
		if (dropped[i].view_dropped)
			drop_companions(&dropped[i], saved.user);
		else if (get_rel_name(dropped[i].rollup) != NULL)
			ereport(NOTICE,
					(errmsg("rollup \"%s\" ends, its counts stay", get_rel_name(dropped[i].rollup)),
					 errdetail("Its defining query was dropped.")));
	}
	for (uint64 i = 0; i < n; i++)
		sc_stats_stream_changed_at_commit(dropped[i].stream);
	SPI_finish();
	sc_identity_leave(&saved);
	PG_RETURN_NULL();
}

/* ---------------------------------------------------------------------
 * ddl_command_end of CREATE VIEW and CREATE RULE
 * --------------------------------------------------------------------- */

/* The views that a command made or replaced. */
#define CHANGED_VIEWS \
	"SELECT COALESCE(w.ev_class, o.objid) AS relid" \
	" FROM pg_catalog.pg_event_trigger_ddl_commands() o" \
	" LEFT JOIN pg_catalog.pg_rewrite w ON w.oid OPERATOR(pg_catalog.=) o.objid" \
	"  AND o.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass" \
	" WHERE o.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass" \
	"  OR o.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass"

#define REPLACED_QUERY \
	"SELECT c.rollup::pg_catalog.text FROM streamcount.rollup_catalog c" \
	" WHERE c.query OPERATOR(pg_catalog.=) ANY (" CHANGED_VIEWS ")"

/* Rollups whose query reads a changed view, over any number of views between. */
#define HALT_READERS \
	"WITH RECURSIVE reader(relid) AS (" CHANGED_VIEWS \
	" UNION SELECT w.ev_class FROM reader r" \
	"  JOIN pg_catalog.pg_depend d ON d.refobjid OPERATOR(pg_catalog.=) r.relid" \
	"   AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass" \
	"   AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass" \
	"  JOIN pg_catalog.pg_rewrite w ON w.oid OPERATOR(pg_catalog.=) d.objid)" \
	" UPDATE streamcount.rollup_progress p SET state = 'halted'," \
	"  reason = 'stream_changed: a view that the query reads was replaced'," \
	"  hint = 'Run streamcount.resume() to go on by the new view, or drop and create the rollup to count anew.'," \
	"  since = pg_catalog.now()" \
	" FROM streamcount.rollup_catalog c JOIN reader r ON r.relid OPERATOR(pg_catalog.=) c.query" \
	" WHERE p.rollup OPERATOR(pg_catalog.=) c.rollup AND p.partition OPERATOR(pg_catalog.=) -1"

/*
 * Another query in the place of the defining one would be merged into
 * states that were counted by the old one: refused.  So would another view
 * below it, which may be meant: the rollups that read it halt.
 */
Datum
streamcount_views_changed(PG_FUNCTION_ARGS)
{
	ScIdentity	saved;
	char	   *name = NULL;

	check_event(fcinfo, "views_changed");
	sc_identity_enter_owner(&saved);
	SPI_connect();
	if (SPI_execute(REPLACED_QUERY, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read streamcount.rollup_catalog");
	if (SPI_processed > 0)
		name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot replace the defining query of the rollup %s", name),
				 errdetail("What is counted so far was counted by the old query."),
				 errhint("Create a new rollup and swap the two by ALTER VIEW ... RENAME, or drop the rollup and create it again.")));
	if (SPI_execute(HALT_READERS, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write streamcount.rollup_progress");
	if (SPI_processed > 0)
	{
		ereport(NOTICE,
				(errmsg("rollups that read the view halt"),
				 errhint("Run streamcount.resume() on each to go on by the new view.")));
		sc_stats_changed_at_commit();
	}
	SPI_finish();
	sc_identity_leave(&saved);
	PG_RETURN_NULL();
}

/* ---------------------------------------------------------------------
 * Rows of streamcount.merges
 * --------------------------------------------------------------------- */

static Oid
lookup(HeapTuple tuple, TupleDesc desc, int column)
{
	char	   *text = SPI_getvalue(tuple, desc, column);
	Datum		oid;
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(text);
	fcinfo->args[0].isnull = false;
	oid = to_regprocedure(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function \"%s\" does not exist", text),
				 errhint("Write it with its schema and argument types, such as public.hll_union(public.hll,public.hll).")));
	return DatumGetObjectId(oid);
}

Datum
streamcount_check_merge(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	row;
	ScIdentity	saved;
	Oid			aggregate,
				merge,
				type,
			   *argtypes;
	int			nargs;

	check_trigger(fcinfo, "check_merge");
	desc = RelationGetDescr(trigger->tg_relation);
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;

	/* What must not be NULL is looked at only after this. */
	if (heap_attisnull(row, 1, desc) || heap_attisnull(row, 2, desc))
		PG_RETURN_POINTER(row);

	sc_identity_enter_owner(&saved);
	aggregate = lookup(row, desc, 1);
	merge = lookup(row, desc, 2);
	sc_identity_leave(&saved);

	if (get_func_prokind(aggregate) != PROKIND_AGGREGATE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an aggregate", SPI_getvalue(row, desc, 1))));
	type = get_func_rettype(aggregate);
	(void) get_func_signature(merge, &argtypes, &nargs);
	if (nargs != 2 || argtypes[0] != type || argtypes[1] != type || get_func_rettype(merge) != type)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("\"%s\" does not merge two values of type %s into one",
						SPI_getvalue(row, desc, 2), format_type_be(type)),
				 errhint("Its two arguments and its result must be of the aggregate's result type.")));
	if (func_volatile(merge) == PROVOLATILE_VOLATILE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("merge function \"%s\" must not be volatile", SPI_getvalue(row, desc, 2))));
	PG_RETURN_POINTER(row);
}
