/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between PostgreSQL 15 and 18: the only place for them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_COMPAT_H
#define SC_COMPAT_H

#include "postgres.h"

#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"

/* 16 took what reads varlena out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 has this in front of a declaration, and nothing else. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 16 moved the columns that a query reads out of the range table entry. */
#if PG_VERSION_NUM >= 160000
#define sc_selected_columns(query, rte) \
	(getRTEPermissionInfo((query)->rteperminfos, (rte))->selectedCols)
#else
#define sc_selected_columns(query, rte) ((rte)->selectedCols)
#endif

/* 18 lets grouped expressions hide behind a range table entry of their own. */
#if PG_VERSION_NUM >= 180000
#define sc_flatten_group(query) \
	do { \
		if ((query)->hasGroupRTE) \
			(query)->targetList = (List *) \
				flatten_group_exprs(NULL, (query), (Node *) (query)->targetList); \
	} while (0)
#else
#define sc_flatten_group(query) ((void) 0)
#endif

/* 18 dropped the argument that says that the plan runs once. */
#if PG_VERSION_NUM >= 180000
#define sc_executor_run(desc) ExecutorRun((desc), ForwardScanDirection, 0)
#else
#define sc_executor_run(desc) ExecutorRun((desc), ForwardScanDirection, 0, true)
#endif

/* 16 made one check of ownership for all catalogs. */
#if PG_VERSION_NUM >= 160000
#define sc_owns_relation(relid, user) object_ownercheck(RelationRelationId, (relid), (user))
#else
#define sc_owns_relation(relid, user) pg_class_ownercheck((relid), (user))
#endif

/* 17 and 18 each gave a foreign path one more argument. */
#if PG_VERSION_NUM >= 180000
#define sc_create_foreignscan_path(root, rel, rows, startup, total, outer) \
	create_foreignscan_path((root), (rel), NULL, (rows), 0, (startup), (total), \
							NIL, (outer), NULL, NIL, NIL)
#elif PG_VERSION_NUM >= 170000
#define sc_create_foreignscan_path(root, rel, rows, startup, total, outer) \
	create_foreignscan_path((root), (rel), NULL, (rows), (startup), (total), \
							NIL, (outer), NULL, NIL, NIL)
#else
#define sc_create_foreignscan_path(root, rel, rows, startup, total, outer) \
	create_foreignscan_path((root), (rel), NULL, (rows), (startup), (total), \
							NIL, (outer), NULL, NIL)
#endif

/* 18 moved the printing of properties to a header of its own. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#else
#include "commands/explain.h"
#endif

/* 17 ties wait event sets to resource owners instead of memory contexts. */
#if PG_VERSION_NUM >= 170000
#define sc_create_wait_event_set(cx, n) CreateWaitEventSet(NULL, (n))
#else
#define sc_create_wait_event_set(cx, n) CreateWaitEventSet((cx), (n))
#endif

/* 16 made one check of ownership for all catalogs. */
#if PG_VERSION_NUM >= 160000
#define sc_owns_database(db, user) object_ownercheck(DatabaseRelationId, (db), (user))
#else
#define sc_owns_database(db, user) pg_database_ownercheck((db), (user))
#endif

/* What DROP DATABASE leaves behind when it is interrupted; 15.4 named the number. */
#define sc_database_is_invalid(form) ((form)->datconnlimit == -2)

/* 18 may leave out a primary key that is deferrable. */
#if PG_VERSION_NUM >= 180000
#define sc_primary_key_index(rel) RelationGetPrimaryKeyIndex((rel), false)
#else
#define sc_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

#endif							/* SC_COMPAT_H */
