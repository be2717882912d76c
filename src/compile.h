/*-------------------------------------------------------------------------
 *
 * compile.h
 *		A defining query, taken apart: keys, mergeable states, outputs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_COMPILE_H
#define SC_COMPILE_H

#include "streamcount.h"
#include "nodes/parsenodes.h"

/* A column of the data table: a group key, or the state of an aggregate. */
typedef struct ScDataColumn
{
	char	   *name;			/* proposed at creation */
	Node	   *expr;			/* over the defining query's range table */
	Oid			type;
	int32		typmod;
	Oid			collation;		/* of the stored column */
	const char *merge;			/* states: with %1$s old and %2$s new */
} ScDataColumn;

typedef struct ScCompiled
{
	Oid			stream;
	Bitmapset  *columns;		/* attnums of the stream that are read */
	int			nkeys;
	int			nstates;
	ScDataColumn *data;			/* nkeys keys, then nstates states */
	Query	   *states;			/* gives the data columns, and marks messages */
	List	   *outputs;		/* TargetEntry: Vars of varno 1 are data columns */
	bool		inner_join;		/* messages without a match are filtered */
} ScCompiled;

/*
 * Take the query apart, or raise an ERROR that names the clause that cannot
 * be kept.  The query is one from a view's rule; it is not changed.
 */
extern ScCompiled *sc_compile(const Query *query);

#endif							/* SC_COMPILE_H */
