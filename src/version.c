/*-------------------------------------------------------------------------
 *
 * version.c
 *		Do the library and the extension's SQL fit together?
 *
 * The library comes with the server's start, the SQL of each database with
 * CREATE or ALTER EXTENSION there, so between the two halves of an upgrade
 * they are of different versions.  What one writes the other might misread:
 * no worker serves a database until both are of one version.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "version.h"

/* NULL: the extension is not installed. */
static char *
installed_version(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("streamcount"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(rel), &isnull);

		version = TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

char *
sc_version_mismatch(void)
{
	char	   *version = installed_version();

	if (version == NULL || strcmp(version, STREAMCOUNT_VERSION) == 0)
		return NULL;
	return psprintf("the extension in this database is of version %s, the server's library of version %s:"
					" run ALTER EXTENSION streamcount UPDATE, or restart the server with the library of version %s",
					version, STREAMCOUNT_VERSION, version);
}
