/*-------------------------------------------------------------------------
 *
 * refuse.h
 *		What a rollup cannot keep, and where its stream stands.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_REFUSE_H
#define SC_REFUSE_H

#include "streamcount.h"
#include "nodes/parsenodes.h"

/* The way from the defining query down to the range table entry of the stream. */
typedef struct ScStreamPlace
{
	List	   *queries;		/* outermost first */
	List	   *rtindexes;		/* in each: the entry to follow; last: the stream */
	Oid			stream;
	bool		inner_join;
} ScStreamPlace;

/* Views on the way to the stream are opened: the query is changed in place. */
extern ScStreamPlace *sc_refuse_find_stream(Query *query);
extern void sc_refuse_query(Query *query);
extern void sc_refuse_key(const Node *key);

/* The ERROR, for the files of this room; detail and hint may be NULL. */
extern void sc_refuse_with(const char *what, const char *detail, const char *hint);

#endif							/* SC_REFUSE_H */
