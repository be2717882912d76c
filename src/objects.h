/*-------------------------------------------------------------------------
 *
 * objects.h
 *		The three objects of a rollup: query view, data table, view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_OBJECTS_H
#define SC_OBJECTS_H

#include "streamcount.h"

#include "compile.h"

typedef struct ScObjects
{
	Oid			rollup;
	Oid			query;
	Oid			data;
	ScCompiled *compiled;
} ScObjects;

/* Make them, as the current user; an ERROR says what cannot be kept. */
extern ScObjects sc_objects_create(const char *name, const char *query);

/* The stream's columns that the query view reads. */
extern Bitmapset *sc_objects_columns(Oid query);

#endif							/* SC_OBJECTS_H */
