/*-------------------------------------------------------------------------
 *
 * compile_from.h
 *		A FROM clause of a stream, a tokenizer and windows, and no more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_COMPILE_FROM_H
#define SC_COMPILE_FROM_H

#include "streamcount.h"

#include "nodes/parsenodes.h"
#include "token.h"

typedef struct ScFromParts
{
	int			stream;			/* index into the range table */
	int			token;			/* 0: there is none */
	ScTokenKind token_kind;
	List	   *token_args;
	int			windows;		/* 0: there are none */
	List	   *windows_args;
	List	   *quals;			/* all of WHERE and ON, in one list of conjuncts */
} ScFromParts;

/* NULL, or what else stands in the query's FROM. */
extern const char *sc_compile_from(const Query *query, Oid stream, ScFromParts *parts);

#endif							/* SC_COMPILE_FROM_H */
