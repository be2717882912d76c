/*-------------------------------------------------------------------------
 *
 * decode_json.h
 *		The wanted members of a JSON payload, as slices of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_DECODE_JSON_H
#define SC_DECODE_JSON_H

#include "postgres.h"

typedef enum ScJsonKind
{
	SC_JSON_MISSING,
	SC_JSON_NULL,
	SC_JSON_TRUE,
	SC_JSON_FALSE,
	SC_JSON_NUMBER,
	SC_JSON_STRING,
	SC_JSON_OBJECT,
	SC_JSON_ARRAY
} ScJsonKind;

typedef struct ScJsonValue
{
	ScJsonKind	kind;
	bool		escaped;		/* a string with escapes in it */
	const char *start;			/* of a string: behind its quote */
	size_t		len;			/* of a string: without its quotes */
} ScJsonValue;

typedef struct ScJsonPaths ScJsonPaths;

extern ScJsonPaths *sc_decode_json_create(MemoryContext cx);

/* Where each walk puts the value at this path; no names: the whole document */
extern const ScJsonValue *sc_decode_json_want(ScJsonPaths *paths, int npath,
											  char *const *path);

/*
 * Find the wanted values of a payload, which they point into.  False where
 * it is not certain that jsonb takes the payload, with just these members.
 */
extern bool sc_decode_json_walk(ScJsonPaths *paths, const char *payload, size_t len);

#endif							/* SC_DECODE_JSON_H */
