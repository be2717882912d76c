/*-------------------------------------------------------------------------
 *
 * ddl_stream.c
 *		What a change of a stream or a server must keep.
 *
 * A validator sees the options of one object; whether they fit the columns'
 * types, the format and each other, only the finished command shows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "option.h"
#include "stats.h"
#include "stream.h"
#include "utils/guc.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(streamcount_check_streams);

static void
refuse_on_own_server(Oid serverid)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("server \"%s\" cannot have options or user mappings with options",
					GetForeignServer(serverid)->servername),
			 errdetail("It belongs to the extension, so a dump would lose them."),
			 errhint("Use CREATE SERVER for other brokers, or set "
					 "streamcount.bootstrap_servers.")));
}

/* These three return whether the object has to do with streams. */

static bool
check_server(Oid serverid)
{
	ForeignServer *server = GetForeignServer(serverid);

	if (!sc_stream_is_our_wrapper(server->fdwid))
		return false;
	if (sc_stream_is_own_server(serverid))
	{
		if (server->options != NIL)
			refuse_on_own_server(serverid);
	}
	else if (sc_option_value(server->options, SC_OPTION_BROKERS) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("server \"%s\" has no option \"%s\"",
						server->servername, SC_OPTION_BROKERS),
				 errhint("Add OPTIONS (\"%s\" 'host:port, ...').", SC_OPTION_BROKERS)));
	return true;
}

static bool
check_user_mapping(Oid mapping)
{
	HeapTuple	tuple = SearchSysCache1(USERMAPPINGOID, ObjectIdGetDatum(mapping));
	Oid			serverid;
	bool		has_options;

	if (!HeapTupleIsValid(tuple))
		return false;
	serverid = ((Form_pg_user_mapping) GETSTRUCT(tuple))->umserver;
	has_options = !heap_attisnull(tuple, Anum_pg_user_mapping_umoptions, NULL);
	ReleaseSysCache(tuple);

	if (!sc_stream_is_our_wrapper(GetForeignServer(serverid)->fdwid))
		return false;
	if (has_options && sc_stream_is_own_server(serverid))
		refuse_on_own_server(serverid);
	return true;
}

/*
 * A dump sets the options of columns after it has created the table, one
 * column at a time, so a stream need not make sense in between.  It says so
 * by check_function_bodies, as it does for functions; the next use checks.
 */
static bool
check_relation(Oid relid)
{
	if (!sc_stream_is_stream(relid))
		return false;
	if (check_function_bodies)
		(void) sc_stream_load(relid, false, CurrentMemoryContext);
	sc_stats_stream_changed_at_commit(relid);
	return true;
}

static bool
check_object(Oid classid, Oid objid)
{
	switch (classid)
	{
		case RelationRelationId:
			return check_relation(objid);
		case ForeignServerRelationId:
			return check_server(objid);
		case UserMappingRelationId:
			return check_user_mapping(objid);
		default:
			return false;
	}
}

/* The event trigger at the end of commands that make or change a stream */
Datum
streamcount_check_streams(PG_FUNCTION_ARGS)
{
	/* what a DROP has dropped cannot be looked at any more */
	bool		shared_changed;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("must be called as an event trigger")));
	shared_changed = ((EventTriggerData *) fcinfo->context)->tag == CMDTAG_DROP_USER_MAPPING;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT classid, objid FROM pg_catalog.pg_event_trigger_ddl_commands()",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the commands of an event trigger");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		Oid			classid = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		Oid			objid = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));

		if (check_object(classid, objid) && classid != RelationRelationId)
			shared_changed = true;
	}
	SPI_finish();

	if (shared_changed)
		sc_stats_stream_changed_at_commit(InvalidOid);
	PG_RETURN_NULL();
}
