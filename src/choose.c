/*-------------------------------------------------------------------------
 *
 * choose.c
 *		Which way a rollup takes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "mb/pg_wchar.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"

#include "choose.h"

/* Was the rollup created to be kept by the executor in any case? */
static bool
executor_is_set(List *settings)
{
	for (int i = 0; i + 1 < list_length(settings); i += 2)
		if (strcmp(list_nth(settings, i), "streamcount.way") == 0 &&
			strcmp(list_nth(settings, i + 1), "executor") == 0)
			return true;
	return false;
}

ScTallyPlan *
sc_choose_plan(const ScStream *stream, Oid query, List *settings, const char **why)
{
	const char *ignored;
	Relation	view;
	ScTallyPlan *plan;

	if (why == NULL)
		why = &ignored;
	if (executor_is_set(settings))
	{
		*why = "streamcount.way was \"executor\" when it was created";
		return NULL;
	}
	if (GetDatabaseEncoding() != PG_UTF8)
	{
		*why = "the encoding of the database, which is not UTF8";
		return NULL;
	}
	view = table_open(query, AccessShareLock);
	if (view->rd_rel->relkind != RELKIND_VIEW)
		elog(ERROR, "\"%s\" is not a view", RelationGetRelationName(view));
	plan = sc_compile_tally(stream, get_view_query(view), why);
	table_close(view, NoLock);
	return plan;
}
