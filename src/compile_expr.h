/*-------------------------------------------------------------------------
 *
 * compile_expr.h
 *		Expressions that can be evaluated anywhere at any time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_COMPILE_EXPR_H
#define SC_COMPILE_EXPR_H

#include "streamcount.h"

#include "compile_from.h"
#include "compile_tally.h"

typedef struct ScCompiling
{
	const ScStream *stream;
	ScFromParts from;
	ScTallyPlan *plan;
	const char *why;			/* the first part that needs the executor */
} ScCompiling;

/* Always false, to be returned. */
extern bool sc_compile_needs_executor(ScCompiling *c, const char *why);

/*
 * Over the query's range table, into one over message and token; notes the
 * columns that it reads.  as_bytes: only its bytes are looked at, where it is
 * a text, or whether it is NULL.
 */
extern bool sc_compile_expr(ScCompiling *c, Node *node, bool as_bytes, ScPlanExpr *result);

#endif							/* SC_COMPILE_EXPR_H */
