/*-------------------------------------------------------------------------
 *
 * sqlapi_rollup.c
 *		SQL functions that make and drop rollups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "catalog.h"
#include "choose.h"
#include "execute.h"
#include "guc.h"
#include "identity.h"
#include "objects.h"
#include "sqlapi.h"
#include "stats.h"
#include "stream.h"

PG_FUNCTION_INFO_V1(streamcount_create_rollup);
PG_FUNCTION_INFO_V1(streamcount_drop_rollup);

/* What STABLE functions in the query may read, as name, value, name, value … */
static Datum
current_settings(void)
{
	static const char *const names[] = {"TimeZone", "DateStyle", "IntervalStyle", "search_path",
	"lc_monetary", "lc_numeric", "lc_time", "default_text_search_config", "streamcount.way"};
	Datum		values[2 * lengthof(names)];

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		values[2 * i] = CStringGetTextDatum(names[i]);
		values[2 * i + 1] = CStringGetTextDatum(GetConfigOption(names[i], false, false));
	}
	return PointerGetDatum(construct_array(values, lengthof(values), TEXTOID, -1, false,
										   TYPALIGN_INT));
}

static void
write_catalog(const ScObjects *made, const char *start, Datum settings,
			  const char *fingerprint, bool paused)
{
	Oid			argtypes[] = {OIDOID, OIDOID, OIDOID, OIDOID, TEXTOID, TEXTARRAYOID, TEXTOID};
	Datum		args[7];
	char		nulls[] = "       ";
	ScIdentity	saved;

	args[0] = ObjectIdGetDatum(made->rollup);
	args[1] = ObjectIdGetDatum(made->query);
	args[2] = ObjectIdGetDatum(made->data);
	args[3] = ObjectIdGetDatum(made->compiled->stream);
	args[4] = start ? CStringGetTextDatum(start) : (Datum) 0;
	nulls[4] = start ? ' ' : 'n';
	args[5] = settings;
	args[6] = CStringGetTextDatum(fingerprint);

	sc_identity_enter_owner(&saved);
	SPI_connect();
	if (SPI_execute_with_args("INSERT INTO streamcount.rollup_catalog"
							  " (rollup, query, data, stream, start_at, settings, fingerprint)"
							  " VALUES ($1, $2, $3, $4, $5, $6, $7)",
							  7, argtypes, args, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write streamcount.rollup_catalog");

	/*
	 * The sentinels: a worker takes a rollup only where it finds these rows,
	 * so that a restore under way is left alone.
	 */
	if (SPI_execute_with_args("INSERT INTO streamcount.left_out_data"
							  " (rollup, kind, partition, first_offset, end_offset)"
							  " VALUES ($1, 'sentinel', -1, 0, 0)",
							  1, argtypes, args, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write streamcount.left_out_data");
	if (SPI_execute_with_args("INSERT INTO streamcount.rollup_progress"
							  " (rollup, partition, start_offset, next_offset, state, since)"
							  " VALUES ($1, -1, 0, 0, $2, CASE WHEN $2 IS NULL THEN NULL ELSE pg_catalog.now() END)",
							  2, (Oid[]) {OIDOID, TEXTOID},
							  (Datum[]) {args[0], CStringGetTextDatum("paused")},
							  paused ? "  " : " n", false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write streamcount.rollup_progress");
	SPI_finish();
	sc_identity_leave(&saved);
}

static void
check_stream(Oid stream)
{
	AclResult	acl = pg_class_aclcheck(stream, GetUserId(), ACL_SELECT);

	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, OBJECT_FOREIGN_TABLE, get_rel_name(stream));
}

/* What a worker would halt on at the first message is better told now. */
static void
check_merge(const ScObjects *made)
{
	ScRollup	rollup = {.relid = made->rollup, .query = made->query, .data = made->data,
	.owner = GetUserId()};

	sc_execute_check(&rollup, made->compiled->columns);
}

static void
check_way(const ScStream *stream, const ScObjects *made)
{
	const char *why;

	if (sc_way == SC_WAY_TALLY && sc_choose_plan(stream, made->query, NIL, &why) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the rollup needs the executor: %s", why),
				 errhint("Set streamcount.way to \"auto\".")));
}

Datum
streamcount_create_rollup(PG_FUNCTION_ARGS)
{
	char	   *start = NULL;
	ScObjects	made;
	ScStream   *stream;

	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s of a rollup must not be null", i ? "query" : "name")));
	if (!PG_ARGISNULL(2))
	{
		start = text_to_cstring(PG_GETARG_TEXT_PP(2));
		(void) sc_stream_parse_start(start);
	}
	made = sc_objects_create(text_to_cstring(PG_GETARG_TEXT_PP(0)),
							 text_to_cstring(PG_GETARG_TEXT_PP(1)));
	check_stream(made.compiled->stream);
	check_merge(&made);
	stream = sc_stream_load(made.compiled->stream, false, CurrentMemoryContext);
	check_way(stream, &made);
	write_catalog(&made, start, current_settings(),
				  sc_stream_fingerprint(stream, made.compiled->columns),
				  !PG_ARGISNULL(3) && PG_GETARG_BOOL(3));
	if (made.compiled->inner_join)
		ereport(NOTICE,
				(errmsg("messages without a match in the join are filtered"),
				 errhint("Use LEFT JOIN to count them, too.")));
	if (!sc_stats_available())
		ereport(WARNING,
				(errmsg("the rollup will not be kept up to date yet: streamcount is not preloaded"),
				 errhint("Add streamcount to shared_preload_libraries and restart the server.")));
	else if (!sc_enabled)
		ereport(WARNING,
				(errmsg("the rollup will not be kept up to date yet: streamcount.enabled is off")));
	sc_stats_stream_changed_at_commit(made.compiled->stream);
	PG_RETURN_OID(made.rollup);
}

Datum
streamcount_drop_rollup(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	ScRollup   *rollup;

	if (sc_stream_is_stream(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a stream, not a rollup", get_rel_name(relid)),
				 errhint("Drop a stream by DROP FOREIGN TABLE.")));
	rollup = linitial(sc_sqlapi_rollups_of(relid));

	/* The event trigger on what is dropped does the rest, as it would for DROP VIEW. */
	SPI_connect();
	if (SPI_execute(psprintf("DROP VIEW %s", rollup->name), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not drop %s", rollup->name);
	SPI_finish();
	PG_RETURN_VOID();
}
