/*-------------------------------------------------------------------------
 *
 * fdw.c
 *		Streams as foreign tables: planning, EXPLAIN and the scan.
 *
 * In a worker that has a batch of the stream in hand, a scan returns the
 * batch's rows, and so the defining query of a rollup runs over new messages
 * without a change.  Everywhere else it reads the topic.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "access/sysattr.h"
#include "batch.h"
#include "compat.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "nodes/makefuncs.h"
#include "option.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "scan.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/*
 * How many messages a topic has is known to Kafka alone, and no plan is
 * worth a question over the network: many, so that hash joins and a
 * materialised inner side are chosen.
 */
#define GUESSED_ROWS	100000

/* Connecting costs more than any plan over local tables saves. */
#define CONNECT_COST	10000.0

/* Parsing JSON against forming a tuple of a table */
#define DECODE_FACTOR	10

typedef struct StreamScan
{
	Bitmapset  *attnums;		/* that the query reads */
	ScBatch    *batch;			/* in hand when the scan began */
	int			cursor;			/* in that batch */
	ScScan	   *scan;			/* of the topic; NULL until the first row */
} StreamScan;

PG_FUNCTION_INFO_V1(streamcount_fdw_handler);
PG_FUNCTION_INFO_V1(streamcount_fdw_validator);

/*
 * Decoding runs in subtransactions, which are forbidden while a query runs
 * in parallel, even in its leader.  So the whole query stays serial: the
 * relations that were looked at before this one must forget their consent.
 * What was planned earlier still, begin_scan() finds.
 */
static void
refuse_parallel(PlannerInfo *root)
{
	root->glob->parallelModeOK = false;
	for (int i = 1; i < root->simple_rel_array_size; i++)
	{
		if (root->simple_rel_array[i] != NULL)
			root->simple_rel_array[i]->consider_parallel = false;
	}
}

static void
get_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	ScBatch    *batch = sc_batch_in_hand(relid);

	refuse_parallel(root);
	baserel->tuples = batch ? sc_batch_nrows(batch) : GUESSED_ROWS;
	set_baserel_size_estimates(root, baserel);
}

static void
get_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	Cost		startup = baserel->baserestrictcost.startup;
	Cost		per_row = cpu_tuple_cost + baserel->baserestrictcost.per_tuple;

	if (sc_batch_in_hand(relid) == NULL)
	{
		startup += CONNECT_COST;
		per_row += cpu_tuple_cost * DECODE_FACTOR;
	}
	add_path(baserel, (Path *)
			 sc_create_foreignscan_path(root, baserel, baserel->rows, startup,
										startup + per_row * baserel->tuples,
										baserel->lateral_relids));
}

/* The columns that the query reads, as the plan's private list of integers */
static List *
columns_read(RelOptInfo *baserel)
{
	Bitmapset  *vars = NULL;
	List	   *columns = NIL;
	ListCell   *lc;

	pull_varattnos((Node *) baserel->reltarget->exprs, baserel->relid, &vars);
	foreach(lc, baserel->baserestrictinfo)
		pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause, baserel->relid, &vars);

	for (int attnum = 1; attnum <= baserel->max_attr; attnum++)
	{
		if (bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, vars) ||
			bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, vars))
			columns = lappend_int(columns, attnum);
	}
	return columns;
}

static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *baserel, Oid relid, ForeignPath *best_path,
		 List *tlist, List *scan_clauses, Plan *outer_plan)
{
	(void) root;
	(void) relid;
	(void) best_path;

	return make_foreignscan(tlist, extract_actual_clauses(scan_clauses, false),
							baserel->relid, NIL, columns_read(baserel),
							NIL, NIL, outer_plan);
}

static void
explain_scan(ForeignScanState *node, ExplainState *es)
{
	ForeignTable *table = GetForeignTable(RelationGetRelid(node->ss.ss_currentRelation));

	ExplainPropertyText("Topic", sc_option_value(table->options, "topic"), es);
}

static void
begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	StreamScan *state;
	ListCell   *lc;

	/*
	 * A part of the query that was planned before the planner met the stream,
	 * such as another arm of a UNION, may have a Gather node.  It runs just
	 * as well in the leader, which is what this makes it do.
	 */
	node->ss.ps.state->es_plannedstmt->parallelModeNeeded = false;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	state = palloc0(sizeof(StreamScan));
	foreach(lc, plan->fdw_private)
		state->attnums = bms_add_member(state->attnums, lfirst_int(lc));
	state->batch = sc_batch_in_hand(RelationGetRelid(node->ss.ss_currentRelation));
	if (state->batch != NULL)
		sc_batch_check(state->batch, RelationGetDescr(node->ss.ss_currentRelation));
	node->fdw_state = state;
}

static ScRow *
next_row(ForeignScanState *node, StreamScan *state, ItemPointer tid)
{
	ScRow	   *row;
	int64		number = 0;

	if (state->batch != NULL)
		return sc_batch_next(state->batch, &state->cursor, tid);

	if (state->scan == NULL)
		state->scan = sc_scan_create(RelationGetRelid(node->ss.ss_currentRelation),
									 state->attnums, node->ss.ps.state->es_query_cxt);
	row = sc_scan_next(state->scan, &number);

	/* block numbers end before offsets in a topic may */
	ItemPointerSet(tid, (BlockNumber) (number % MaxBlockNumber), FirstOffsetNumber);
	return row;
}

static TupleTableSlot *
iterate_scan(ForeignScanState *node)
{
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	int			natts = slot->tts_tupleDescriptor->natts;
	ItemPointerData tid;
	ScRow	   *row;

	ExecClearTuple(slot);
	row = next_row(node, node->fdw_state, &tid);
	if (row == NULL)
		return slot;

	memcpy(slot->tts_values, row->values, sizeof(Datum) * natts);
	memcpy(slot->tts_isnull, row->isnull, sizeof(bool) * natts);
	ExecStoreVirtualTuple(slot);
	slot->tts_tid = tid;
	return slot;
}

static void
rescan(ForeignScanState *node)
{
	StreamScan *state = node->fdw_state;

	state->cursor = 0;
	if (state->scan != NULL)
		sc_scan_restart(state->scan);
}

static void
end_scan(ForeignScanState *node)
{
	StreamScan *state = node->fdw_state;

	if (state != NULL && state->scan != NULL)
		sc_scan_finish(state->scan);
}

Datum
streamcount_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	(void) fcinfo;
	routine->GetForeignRelSize = get_rel_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
	routine->ExplainForeignScan = explain_scan;
	routine->BeginForeignScan = begin_scan;
	routine->IterateForeignScan = iterate_scan;
	routine->ReScanForeignScan = rescan;
	routine->EndForeignScan = end_scan;
	PG_RETURN_POINTER(routine);
}

Datum
streamcount_fdw_validator(PG_FUNCTION_ARGS)
{
	sc_option_check(untransformRelOptions(PG_GETARG_DATUM(0)), PG_GETARG_OID(1));
	PG_RETURN_VOID();
}
