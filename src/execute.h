/*-------------------------------------------------------------------------
 *
 * execute.h
 *		The defining query, run by PostgreSQL's executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_EXECUTE_H
#define SC_EXECUTE_H

#include "streamcount.h"

#include "catalog.h"

/*
 * Act as the rollup's owner, over the batch in hand, inside the caller's
 * transaction: merge into the data table and return how many rows were
 * written.  The batch has the columns of the stream that are given: an ERROR
 * where the query reads others.
 */
extern uint64 sc_execute_merge(const ScRollup *rollup, const Bitmapset *columns);

/* The query alone, to be run any number of times in this transaction. */
typedef struct ScSelect ScSelect;

extern ScSelect *sc_execute_plan_select(const ScRollup *rollup, const Bitmapset *columns);
extern void sc_execute_select(const ScSelect *select);

/*
 * The same with rows that are counted already: next() gives the data columns
 * of one more, and false behind the last.  Each key comes once; in_order:
 * sorted as the data table's index is.
 */
typedef bool (*ScRowSource) (void *source, Datum *values, bool *isnull);

extern uint64 sc_execute_merge_rows(const ScRollup *rollup, const Bitmapset *columns,
									bool in_order, ScRowSource next, void *source);

/*
 * Would the merge run?  Raises the ERROR that the first flush would meet:
 * privileges, row security, names.  Runs nothing.
 */
extern void sc_execute_check(const ScRollup *rollup, const Bitmapset *columns);

#endif							/* SC_EXECUTE_H */
