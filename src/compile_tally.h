/*-------------------------------------------------------------------------
 *
 * compile_tally.h
 *		What a tally has to do for a defining query, or why it cannot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_COMPILE_TALLY_H
#define SC_COMPILE_TALLY_H

#include "streamcount.h"

#include "compile.h"
#include "tally.h"
#include "token.h"
#include "window.h"

/*
 * Something to be evaluated for a message, or for a token of it.  Its Vars
 * have varno 1 and are the stream's columns, by attnum; the token stands
 * behind them, as column natts + 1.
 */
typedef struct ScPlanExpr
{
	Expr	   *expr;			/* NULL: nothing */
	AttrNumber	attnum;			/* not 0: it is just this column, or the token */
	bool		of_token;		/* differs from token to token */
} ScPlanExpr;

typedef enum ScPlanKeyKind
{
	SC_KEY_EXPR,
	SC_KEY_GRANULARITY,
	SC_KEY_INTERVAL,
	SC_KEY_WINDOW_START,
	SC_KEY_WINDOW_END
} ScPlanKeyKind;

/* A key column of the data table, in their order. */
typedef struct ScPlanKey
{
	ScPlanKeyKind kind;
	ScPlanExpr	value;			/* SC_KEY_EXPR */
	ScTallyKey	key;			/* SC_KEY_EXPR */
} ScPlanKey;

/* A state column of the data table, in their order. */
typedef struct ScPlanState
{
	ScTallyState state;
	ScPlanExpr	arg;			/* nothing: count(*) */
	ScPlanExpr	filter;			/* nothing: all rows */
} ScPlanState;

typedef struct ScTallyPlan
{
	int			natts;			/* of the stream */
	Bitmapset  *columns;		/* attnums that are read */
	Bitmapset  *datums;			/* what is wanted as a Datum: of them, and the token */
	bool		throws;			/* there are expressions, which may fail */
	List	   *filters;		/* Expr: WHERE, as far as it is of the message */
	List	   *token_filters;	/* Expr: the rest of it */
	bool		has_token;
	ScTokenKind token_kind;
	ScPlanExpr	token_text;
	bool		has_windows;
	ScPlanExpr	time;
	pg_tz	   *zone;
	int			ngranularities;
	ScGranularity *granularities;	/* each once */
	bool		in_order;		/* window keys come last: sorted by keys is sorted */
	int			nkeys;
	ScPlanKey  *keys;
	int			nstates;
	ScPlanState *states;
} ScTallyPlan;

/*
 * NULL where the query needs the executor: *why says which part of it does.
 * Everything lives in the current memory context.
 */
extern ScTallyPlan *sc_compile_tally(const ScStream *stream, const Query *query,
									 const char **why);

#endif							/* SC_COMPILE_TALLY_H */
