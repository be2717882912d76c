/*-------------------------------------------------------------------------
 *
 * aggregate.c
 *		Aggregates that can be merged: their states, and their results.
 *
 * A rollup stores what merges, not what is shown: avg is kept as a sum and
 * a count.  Each state is itself an aggregate, so that the defining query
 * with its states in place of its select list gives one batch's share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "aggregate.h"
#include "catalog.h"

/* A state is NULL until the first value that is not; NULL changes nothing. */
#define MERGE_BY(op) \
	"COALESCE(%1$s OPERATOR(pg_catalog." op ") %2$s, %1$s, %2$s)"

static const struct
{
	const char *name;
	const char *merge;
}			builtin[] =
{
	{"count", "%1$s OPERATOR(pg_catalog.+) %2$s"},
	{"sum", MERGE_BY("+")},
	{"min", "LEAST(%1$s, %2$s)"},
	{"max", "GREATEST(%1$s, %2$s)"},
	{"bool_and", "COALESCE(%1$s AND %2$s, %1$s, %2$s)"},
	{"every", "COALESCE(%1$s AND %2$s, %1$s, %2$s)"},
	{"bool_or", "COALESCE(%1$s OR %2$s, %1$s, %2$s)"},
	{"bit_and", MERGE_BY("&")},
	{"bit_or", MERGE_BY("|")},
	{"bit_xor", MERGE_BY("#")},
	{"range_agg", MERGE_BY("+")},
	{"range_intersect_agg", MERGE_BY("*")},
};

bool
sc_aggregate_is(const Aggref *aggref, const char *name)
{
	return aggref->aggfnoid < FirstGenbkiObjectId &&
		get_func_namespace(aggref->aggfnoid) == PG_CATALOG_NAMESPACE &&
		strcmp(get_func_name(aggref->aggfnoid), name) == 0;
}

static const char *
merge_of(const Aggref *aggref)
{
	for (int i = 0; i < (int) lengthof(builtin); i++)
		if (sc_aggregate_is(aggref, builtin[i].name))
			return builtin[i].merge;
	return sc_catalog_merge(aggref->aggfnoid);
}

/*
 * The same call, of another built-in aggregate: same arguments, same FILTER.
 * Only what the deparser and the column's definition look at is set.
 */
static Aggref *
call_like(const Aggref *aggref, const char *name, Oid argtype)
{
	Aggref	   *call = copyObject(unconstify(Aggref *, aggref));
	TargetEntry *arg = linitial_node(TargetEntry, call->args);

	arg->expr = (Expr *) coerce_to_target_type(NULL, (Node *) arg->expr,
											   exprType((Node *) arg->expr),
											   argtype, -1, COERCION_EXPLICIT,
											   COERCE_EXPLICIT_CAST, -1);
	call->aggfnoid = LookupFuncName(list_make2(makeString("pg_catalog"),
											   makeString(pstrdup(name))),
									1, &argtype, false);
	call->aggargtypes = list_make1_oid(argtype);
	call->aggtype = get_func_rettype(call->aggfnoid);
	call->aggtranstype = InvalidOid;
	return call;
}

/* avg is sum and count; of real, the sum is kept in double precision, as avg does. */
static int
avg_states(const Aggref *aggref, ScAggState *states)
{
	Oid			argtype = linitial_oid(aggref->aggargtypes);
	Oid			anytype = ANYOID;
	Aggref	   *count;

	if (argtype == FLOAT4OID)
		argtype = FLOAT8OID;
	states[0].aggref = call_like(aggref, "sum", argtype);
	states[0].suffix = "_sum";
	states[0].merge = MERGE_BY("+");

	count = copyObject(unconstify(Aggref *, aggref));
	count->aggfnoid = LookupFuncName(list_make2(makeString("pg_catalog"),
												makeString("count")),
									 1, &anytype, false);
	count->aggtype = INT8OID;
	count->aggtranstype = InvalidOid;
	states[1].aggref = count;
	states[1].suffix = "_count";
	states[1].merge = "%1$s OPERATOR(pg_catalog.+) %2$s";
	return 2;
}

static void
refuse_call(const Aggref *aggref)
{
	char	   *name = format_procedure(aggref->aggfnoid);

	if (aggref->aggdistinct != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep %s with DISTINCT in a rollup", name),
				 errdetail("Which values were seen before is not part of a mergeable state."),
				 errhint("Count distinct values by a sketch: hll_add_agg(hll_hash_text(...)) of the extension hll, registered in streamcount.merges.")));
	if (aggref->aggorder != NIL || aggref->aggkind != AGGKIND_NORMAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep the ordered aggregate %s in a rollup", name),
				 errdetail("Messages of several partitions have no order."),
				 errhint("Keep count, sum, min, max or avg, or a sketch that merges.")));
}

int
sc_aggregate_states(const Aggref *aggref, ScAggState *states)
{
	refuse_call(aggref);
	if (sc_aggregate_is(aggref, "avg"))
		return avg_states(aggref, states);

	states[0].aggref = copyObject(unconstify(Aggref *, aggref));
	states[0].suffix = "";
	states[0].merge = merge_of(aggref);
	if (states[0].merge == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep the aggregate %s in a rollup",
						format_procedure(aggref->aggfnoid)),
				 errdetail("No function is known that merges two of its results."),
				 errhint("Known are count, sum, min, max, avg, bool_and, bool_or, every, bit_and, bit_or, bit_xor, range_agg and range_intersect_agg; others join by a row in streamcount.merges.")));
	return 1;
}

Node *
sc_aggregate_result(const Aggref *aggref, Node *const *values)
{
	ParseState *pstate;
	Node	   *sum,
			   *count;
	Oid			type;

	if (!sc_aggregate_is(aggref, "avg"))
		return values[0];

	/* The types are those of PostgreSQL's own final functions, so that the
	 * digits are: numeric by numeric, everything else by double precision. */
	type = (aggref->aggtype == NUMERICOID) ? NUMERICOID : FLOAT8OID;
	pstate = make_parsestate(NULL);
	sum = values[0];
	if (exprType(sum) != aggref->aggtype)
		sum = coerce_to_target_type(pstate, sum, exprType(sum), aggref->aggtype,
									-1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	count = coerce_to_target_type(pstate, values[1], INT8OID, type, -1,
								  COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	return (Node *) make_op(pstate, list_make2(makeString("pg_catalog"), makeString("/")),
							sum, count, NULL, -1);
}
