/*-------------------------------------------------------------------------
 *
 * identity.c
 *		Acting as somebody else for a few statements.
 *
 * The user id is undone by transaction and subtransaction abort, the
 * settings by their nesting level: so an error needs no clean-up here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "catalog.h"
#include "identity.h"

void
sc_identity_lock_search_path(void)
{
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

void
sc_identity_fix_settings(bool for_good)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "off"},
		{"session_replication_role", "origin"},
		{"check_function_bodies", "on"},
		{"standard_conforming_strings", "on"},
		{"transform_null_equals", "off"},
		{"array_nulls", "on"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"},
		{"quote_all_identifiers", "off"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_SUSET,
								 for_good ? PGC_S_OVERRIDE : PGC_S_SESSION,
								 for_good ? GUC_ACTION_SET : GUC_ACTION_SAVE,
								 true, 0, false);
}

static void
enter(ScIdentity *saved, Oid user, int flag)
{
	GetUserIdAndSecContext(&saved->user, &saved->sec_context);
	saved->guc_level = NewGUCNestLevel();
	SetUserIdAndSecContext(user, saved->sec_context | flag);
}

void
sc_identity_enter_owner(ScIdentity *saved)
{
	enter(saved, sc_catalog_owner(), SECURITY_LOCAL_USERID_CHANGE);
	sc_identity_lock_search_path();
}

void
sc_identity_enter_restricted(ScIdentity *saved, Oid user)
{
	enter(saved, user, SECURITY_RESTRICTED_OPERATION);
	sc_identity_lock_search_path();
}

void
sc_identity_leave(const ScIdentity *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->sec_context);
}
