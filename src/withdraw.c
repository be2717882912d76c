/*-------------------------------------------------------------------------
 *
 * withdraw.c
 *		DDL that the processes have to hear of, or to make way for.
 *
 * DROP DATABASE and its like fail while anybody is connected, and nobody
 * but us knows that our processes are there.  So they leave before such a
 * command, and come back when its transaction has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "stats_launch.h"
#include "withdraw.h"

/* Afterwards the command itself waits, and says who is in its way. */
#define PATIENCE_MS 5000
#define LOOK_MS 5

static ProcessUtility_hook_type previous_utility = NULL;
static object_access_hook_type previous_access = NULL;

/* Of the transaction under way */
static Oid	withdrawn = InvalidOid;
static bool dropped = false;

/* ---------------------------------------------------------------------
 * Whom a command concerns
 * --------------------------------------------------------------------- */

static bool
is_template(Oid db)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(db));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return result;
}

static const char *
string_option(List *options, const char *name, const char *otherwise)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, name) == 0)
			return option->arg == NULL ? otherwise : defGetString(option);
	}
	return otherwise;
}

static Oid
database(const char *name)
{
	return name == NULL ? InvalidOid : get_database_oid(name, true);
}

/* Another one than ours, of which the user may dispose */
static Oid
own_database(const char *name)
{
	Oid			db = database(name);

	return OidIsValid(db) && db != MyDatabaseId &&
		sc_owns_database(db, GetUserId()) ? db : InvalidOid;
}

/* PostgreSQL's own question is to be had only from late minor versions of 15 on. */
static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (!HeapTupleIsValid(tuple))
		return false;
	may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	ReleaseSysCache(tuple);
	return may;
}

static Oid
copied_database(const CreatedbStmt *stmt)
{
	Oid			db = database(string_option(stmt->options, "template", "template1"));

	return OidIsValid(db) && may_create_databases() &&
		(is_template(db) || sc_owns_database(db, GetUserId())) ? db : InvalidOid;
}

/*
 * The database that a command needs for itself alone, if the user is allowed
 * the command: nobody else may send our processes away.
 */
static Oid
needed_database(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			return own_database(((DropdbStmt *) stmt)->dbname);
		case T_CreatedbStmt:
			return copied_database((CreatedbStmt *) stmt);
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE && may_create_databases())
				return own_database(((RenameStmt *) stmt)->subname);
			return InvalidOid;
		case T_AlterDatabaseStmt:
			if (string_option(((AlterDatabaseStmt *) stmt)->options, "tablespace", NULL) != NULL)
				return own_database(((AlterDatabaseStmt *) stmt)->dbname);
			return InvalidOid;
		default:
			return InvalidOid;
	}
}

static bool
changes_databases(Node *stmt)
{
	return IsA(stmt, CreatedbStmt) || IsA(stmt, DropdbStmt) || IsA(stmt, AlterDatabaseStmt) ||
		(IsA(stmt, RenameStmt) && ((RenameStmt *) stmt)->renameType == OBJECT_DATABASE);
}

/* ---------------------------------------------------------------------
 * Withdrawal
 * --------------------------------------------------------------------- */

static void
end_withdrawal(bool forget)
{
	if (OidIsValid(withdrawn))
		sc_stats_withdraw_end(withdrawn, forget);
	withdrawn = InvalidOid;
	dropped = false;
}

/* Moving a database commits half-way: by then nobody is in its way any more. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		end_withdrawal(dropped);
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		end_withdrawal(false);
}

static bool
any_left(List *pids)
{
	ListCell   *lc;

	foreach(lc, pids)
	{
		if (BackendPidGetProc(lfirst_int(lc)) != NULL)
			return true;
	}
	return false;
}

static void
withdraw(Oid db)
{
	List	   *pids;
	instr_time	begin;
	instr_time	now;

	end_withdrawal(false);
	withdrawn = db;
	pids = sc_stats_withdraw(db);
	INSTR_TIME_SET_CURRENT(begin);
	while (any_left(pids))
	{
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, begin);
		if (INSTR_TIME_GET_MILLISEC(now) >= PATIENCE_MS)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---------------------------------------------------------------------
 * Hooks
 * --------------------------------------------------------------------- */

static void
run(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context,
	ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	if (previous_utility)
		previous_utility(pstmt, query, read_only, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env, dest, qc);
}

/* An error gives the database back at once, even where somebody catches it. */
static void
utility(PlannedStmt *pstmt, const char *query, bool read_only, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	Oid			db = needed_database(stmt);

	if (changes_databases(stmt))
		sc_stats_databases_changed_at_commit();
	if (!OidIsValid(db))
	{
		run(pstmt, query, read_only, context, params, env, dest, qc);
		return;
	}
	PG_TRY();
	{
		withdraw(db);
		run(pstmt, query, read_only, context, params, env, dest, qc);
	}
	PG_CATCH();
	{
		end_withdrawal(false);
		PG_RE_THROW();
	}
	PG_END_TRY();
	dropped = IsA(stmt, DropdbStmt);
}

/*
 * That the extension comes, goes or is updated, however that comes about: by
 * its own command, or with its owner.
 */
static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (previous_access)
		previous_access(access, class, object, sub, arg);
	if (class == ExtensionRelationId &&
		(access == OAT_POST_CREATE || access == OAT_POST_ALTER || access == OAT_DROP))
		sc_stats_changed_at_commit();
	/* Before an update lets go of its locks, no flush goes on as before. */
	if (class == ExtensionRelationId && access == OAT_POST_ALTER)
		CacheInvalidateRelcacheAll();
}

void
sc_withdraw_watch(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	previous_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(at_end_of_transaction, NULL);
}
