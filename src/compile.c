/*-------------------------------------------------------------------------
 *
 * compile.c
 *		A defining query, taken apart: keys, mergeable states, outputs.
 *
 * The data table keeps one column for each group key and one for each state
 * of each aggregate.  The "states" query is the defining query with these
 * in place of its select list: run over a batch, it gives what the batch
 * adds.  The "outputs" are the select list again, over the data table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/heap.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parsetree.h"
#include "optimizer/tlist.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "aggregate.h"
#include "compat.h"
#include "compile.h"
#include "compile_carry.h"
#include "refuse.h"

/* An aggregate of the select list, and where its states stand. */
typedef struct KnownAggregate
{
	Aggref	   *aggref;
	int			nstates;
	int			first;			/* index into data[] */
} KnownAggregate;

typedef struct Compiling
{
	ScCompiled *compiled;
	List	   *aggregates;		/* KnownAggregate */
	const char *proposed;		/* the select item's name */
	bool		whole_item;		/* the aggregate is the select item itself */
} Compiling;

/* ---------------------------------------------------------------------
 * Columns of the data table
 * --------------------------------------------------------------------- */

static bool
name_is_taken(const ScCompiled *compiled, const char *name)
{
	if (SystemAttributeByName(name) != NULL)
		return true;
	for (int i = 0; i < compiled->nkeys + compiled->nstates; i++)
		if (strcmp(compiled->data[i].name, name) == 0)
			return true;
	return false;
}

static char *
choose_name(const ScCompiled *compiled, const char *base, const char *suffix)
{
	char	   *name = makeObjectName(base, NULL, NULL);

	if (*suffix)
		name = makeObjectName(base, NULL, suffix + 1);
	for (int i = 1; name_is_taken(compiled, name); i++)
		name = makeObjectName(base, NULL, psprintf("%s%d", *suffix ? suffix + 1 : "", i));
	return name;
}

static ScDataColumn *
add_column(ScCompiled *compiled, Node *expr, const char *base, const char *suffix)
{
	int			n = compiled->nkeys + compiled->nstates;
	ScDataColumn *column;

	compiled->data = n == 0 ? palloc(sizeof(ScDataColumn)) :
		repalloc(compiled->data, (n + 1) * sizeof(ScDataColumn));
	column = &compiled->data[n];
	column->name = choose_name(compiled, base, suffix);
	column->expr = expr;
	column->type = exprType(expr);
	column->typmod = exprTypmod(expr);
	column->collation = exprCollation(expr);
	column->merge = NULL;
	return column;
}

static void
add_keys(ScCompiled *compiled, const Query *query)
{
	ListCell   *lc;
	int			number = 0;

	foreach(lc, query->groupClause)
	{
		TargetEntry *tle = get_sortgroupclause_tle(lfirst(lc), query->targetList);
		ScDataColumn *column;
		bool		known = false;

		number++;
		for (int i = 0; i < compiled->nkeys; i++)
			if (equal(compiled->data[i].expr, tle->expr))
				known = true;
		if (known)
			continue;
		sc_refuse_key((Node *) tle->expr);
		column = add_column(compiled, (Node *) tle->expr,
							tle->resjunk ? psprintf("key%d", number) : tle->resname, "");

		/*
		 * Equal under a deterministic collation means equal bytes, which "C"
		 * compares fastest, and the same on every machine.
		 */
		if (OidIsValid(column->collation) && get_collation_isdeterministic(column->collation))
			column->collation = C_COLLATION_OID;
		compiled->nkeys++;
	}
}

static KnownAggregate *
known_aggregate(Compiling *c, Aggref *aggref)
{
	KnownAggregate *known;
	ScAggState	states[SC_MAX_STATES];
	const char *base;
	ListCell   *lc;

	foreach(lc, c->aggregates)
		if (equal(((KnownAggregate *) lfirst(lc))->aggref, aggref))
			return lfirst(lc);

	known = palloc(sizeof(KnownAggregate));
	known->aggref = aggref;
	known->nstates = sc_aggregate_states(aggref, states);
	known->first = c->compiled->nkeys + c->compiled->nstates;
	base = c->whole_item ? c->proposed :
		psprintf("%s_%s", c->proposed, get_func_name(aggref->aggfnoid));
	for (int i = 0; i < known->nstates; i++)
	{
		ScDataColumn *column = add_column(c->compiled, (Node *) states[i].aggref,
										  base, states[i].suffix);

		column->merge = states[i].merge;
		c->compiled->nstates++;
	}
	c->aggregates = lappend(c->aggregates, known);
	return known;
}

/* ---------------------------------------------------------------------
 * The select list, over the data table
 * --------------------------------------------------------------------- */

static Node *
column_var(const ScCompiled *compiled, int i)
{
	const ScDataColumn *column = &compiled->data[i];

	return (Node *) makeVar(1, i + 1, column->type, column->typmod, column->collation, 0);
}

static Node *
collate(Expr *expr, Oid collation)
{
	CollateExpr *collate = makeNode(CollateExpr);

	collate->arg = expr;
	collate->collOid = collation;
	collate->location = -1;
	return (Node *) collate;
}

/*
 * Inside an expression a key must go on with the collation that the
 * expression was analysed with: upper() under "C" knows ASCII alone.
 */
static Node *
key_inside_expression(const ScCompiled *compiled, int i)
{
	Node	   *var = column_var(compiled, i);
	Oid			original = exprCollation(compiled->data[i].expr);

	return original == compiled->data[i].collation ? var :
		collate((Expr *) var, original);
}

static Node *
output_mutator(Node *node, Compiling *c)
{
	if (node == NULL)
		return NULL;
	for (int i = 0; i < c->compiled->nkeys; i++)
		if (equal(node, c->compiled->data[i].expr))
			return key_inside_expression(c->compiled, i);
	if (IsA(node, Aggref))
	{
		KnownAggregate *known = known_aggregate(c, (Aggref *) node);
		Node	   *values[SC_MAX_STATES];

		for (int i = 0; i < known->nstates; i++)
			values[i] = column_var(c->compiled, known->first + i);
		return sc_aggregate_result(known->aggref, values);
	}
	if (IsA(node, GroupingFunc))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot keep a query with GROUPING() in a rollup"),
				 errhint("Leave it out: without grouping sets it is always zero.")));
	if (IsA(node, Var))
		ereport(ERROR,
				(errcode(ERRCODE_GROUPING_ERROR),
				 errmsg("cannot keep a column that is no group key in a rollup"),
				 errdetail("The select list has a column that only depends on a group key."),
				 errhint("Add the column to GROUP BY.")));
	return expression_tree_mutator(node, output_mutator, c);
}

static void
add_outputs(Compiling *c, const Query *query)
{
	ListCell   *lc;

	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node	   *expr = NULL;

		if (tle->resjunk)
			continue;
		for (int i = 0; i < c->compiled->nkeys; i++)
			if (equal(tle->expr, c->compiled->data[i].expr))
				expr = column_var(c->compiled, i);
		c->proposed = tle->resname;
		c->whole_item = IsA(tle->expr, Aggref);
		if (expr == NULL)
			expr = output_mutator((Node *) tle->expr, c);
		c->compiled->outputs = lappend(c->compiled->outputs,
									   makeTargetEntry((Expr *) expr,
													   list_length(c->compiled->outputs) + 1,
													   pstrdup(tle->resname), false));
	}
}

/* ---------------------------------------------------------------------
 * The states query
 * --------------------------------------------------------------------- */

/*
 * HAVING streamcount.mark(ctid, keys of variable length): always true, and
 * on its way it notes which messages reached the grouping.  In the select
 * list the planner would prune it.
 */
static Node *
marking(const ScCompiled *compiled, Var *ctid)
{
	ParseState *pstate = make_parsestate(NULL);
	FuncCall   *call = makeFuncCall(list_make2(makeString(SC_SCHEMA), makeString("mark")),
									NIL, COERCE_EXPLICIT_CALL, -1);
	List	   *args = list_make1(ctid);

	for (int i = 0; i < compiled->nkeys; i++)
		if (get_typlen(compiled->data[i].type) < 0)
			args = lappend(args, copyObject(compiled->data[i].expr));
	pstate->p_expr_kind = EXPR_KIND_HAVING;
	return ParseFuncOrColumn(pstate, call->funcname, args, NULL, call, false, -1);
}

static Query *
states_query(const ScCompiled *compiled, Query *query, const ScStreamPlace *place)
{
	List	   *old = query->targetList;
	List	   *targets = NIL;
	ListCell   *lc;

	for (int i = 0; i < compiled->nkeys + compiled->nstates; i++)
	{
		TargetEntry *tle = makeTargetEntry((Expr *) copyObject(compiled->data[i].expr),
										   i + 1, psprintf("c%d", i + 1), false);

		/* Group and sort by bytes where the data table does, too. */
		if (i < compiled->nkeys &&
			exprCollation((Node *) tle->expr) != compiled->data[i].collation)
			tle->expr = (Expr *) collate(tle->expr, compiled->data[i].collation);
		if (i < compiled->nkeys)
			foreach(lc, query->groupClause)
			{
				TargetEntry *key = get_sortgroupclause_tle(lfirst(lc), old);

				if (equal(key->expr, compiled->data[i].expr))
					tle->ressortgroupref = key->ressortgroupref;
			}
		targets = lappend(targets, tle);
	}

	/* A key that is written twice is one column: keep the clause that it has. */
	foreach(lc, query->groupClause)
	{
		bool		used = false;
		ListCell   *lc2;

		foreach(lc2, targets)
			if (((TargetEntry *) lfirst(lc2))->ressortgroupref ==
				((SortGroupClause *) lfirst(lc))->tleSortGroupRef)
				used = true;
		if (!used)
			query->groupClause = foreach_delete_current(query->groupClause, lc);
	}
	query->targetList = targets;
	query->havingQual = marking(compiled, sc_compile_carry_ctid(place));
	query->hasAggs = true;
	return query;
}

/* The stream's columns that the query reads; a whole row reads them all. */
static Bitmapset *
columns_read(const ScStreamPlace *place)
{
	Query	   *query = llast(place->queries);
	RangeTblEntry *rte = rt_fetch(llast_int(place->rtindexes), query->rtable);
	Bitmapset  *selected = sc_selected_columns(query, rte);
	Bitmapset  *columns = NULL;
	int			i = -1;

	while ((i = bms_next_member(selected, i)) >= 0)
	{
		AttrNumber	attnum = i + FirstLowInvalidHeapAttributeNumber;

		/* tableoid alone says the same of a message, whoever reads it */
		if (attnum < 0 && attnum != TableOidAttributeNumber)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot keep a query with system column \"%s\" of its stream in a rollup",
							NameStr(SystemAttributeDefinition(attnum)->attname)),
					 errhint("A message is named by its partition and offset, see the option \"metadata\" of columns.")));
		if (attnum > 0)
			columns = bms_add_member(columns, attnum);
		else if (attnum == 0)
		{
			Relation	rel = table_open(rte->relid, AccessShareLock);

			columns = bms_add_range(columns, 1, RelationGetNumberOfAttributes(rel));
			table_close(rel, NoLock);
		}
	}
	return columns;
}

ScCompiled *
sc_compile(const Query *original)
{
	Query	   *query = copyObject(unconstify(Query *, original));
	Compiling	c = {0};
	ScStreamPlace *place;

	sc_flatten_group(query);
	sc_refuse_query(query);
	place = sc_refuse_find_stream(query);

	c.compiled = palloc0(sizeof(ScCompiled));
	c.compiled->stream = place->stream;
	c.compiled->inner_join = place->inner_join;
	c.compiled->columns = columns_read(place);
	add_keys(c.compiled, query);
	add_outputs(&c, query);
	c.compiled->states = states_query(c.compiled, query, place);
	return c.compiled;
}
