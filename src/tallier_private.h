/*-------------------------------------------------------------------------
 *
 * tallier_private.h
 *		What the two halves of the room share: messages in, rows out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TALLIER_PRIVATE_H
#define SC_TALLIER_PRIVATE_H

#include "nodes/execnodes.h"

#include "tallier.h"

/*
 * The window of an entry that only ALL is derived from: its times are in no
 * other.  It comes behind all windows.
 */
#define SC_NO_WINDOW DT_NOEND

/*
 * A granularity that is tallied, and those that are derived from it at the
 * flush because all its windows lie within theirs.
 */
typedef struct ScChain
{
	int			base;			/* index into the plan's granularities */
	ScWindow	window;			/* the last one found */
	int			nderived;
	int		   *derived;
} ScChain;

struct ScTallier
{
	const ScTallyPlan *plan;
	ScTally    *tally;
	ScZone		zone;
	int			nchains;		/* without windows: one, whose window is always 0 */
	ScChain    *chains;
	int			all_chain;		/* the one with ALL; -1: there is none */

	/* Expressions; NULL where the plan has none, or just a column */
	ExprContext *econtext;
	List	   *filters;		/* ExprState */
	List	   *token_filters;	/* ExprState */
	ExprState  *token_text;
	ExprState  *time;
	ExprState **keys;
	ExprState **args;
	ExprState **arg_filters;

	/* The message in hand */
	const ScQuickValue *columns;
	NullableDatum *inputs;		/* of the states */
	TimestampTz *windows;		/* by chain */
	int			first_chain;	/* those that the message is counted in: */
	int			end_chain;
	int			fixed_keys;		/* so many keys do not differ from token to token */
	bool		token_datum;	/* somebody wants the token as a Datum */
	bool		token_twice;	/* what is made of a token can be in doubt */
	bool		token_inputs;	/* some of the states' inputs differ, too */
	bool		adding;			/* to the tally, which must be done as a whole */
	char	   *token_buf;		/* a folded token, as a text */
	Size		token_size;
};

#endif							/* SC_TALLIER_PRIVATE_H */
