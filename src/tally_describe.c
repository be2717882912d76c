/*-------------------------------------------------------------------------
 *
 * tally_describe.c
 *		Which keys and states a tally can have.
 *
 * Messages are tallied outside of transactions, where nothing can be looked
 * up.  So only PostgreSQL's own functions are called, of types that stand for
 * themselves (those of arrays, ranges, rows and enums look up others), and a
 * collation is used once here: it is looked up when it is first used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "tally_state.h"

static void
look_up(Oid collation)
{
	if (OidIsValid(collation))
		(void) varstr_cmp("a", 1, "b", 1, collation);
}

/* A type that stands for itself, compared by PostgreSQL's own function? */
static bool
is_plain(const TypeCacheEntry *type)
{
	return type->typtype == TYPTYPE_BASE && !OidIsValid(get_element_type(type->type_id)) &&
		OidIsValid(type->cmp_proc) && type->cmp_proc < FirstGenbkiObjectId;
}

/* ----------------------------------------------------------------
 * What keys there are
 * ----------------------------------------------------------------
 */

bool
sc_tally_is_word(const TypeCacheEntry *type, bool *is_signed)
{
	switch (type->type_id)
	{
		case BOOLOID:
		case CHAROID:
		case OIDOID:
			*is_signed = false;
			break;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			*is_signed = true;
			break;
		default:
			return false;
	}
	return type->typbyval;
}

bool
sc_tally_describe_key(ScTallyKey *key, Oid type, Oid collation, const char **why)
{
	bool		is_signed;

	memset(key, 0, sizeof(ScTallyKey));
	type = getBaseType(type);
	key->collation = collation;
	key->type = lookup_type_cache(type,
								  TYPECACHE_EQ_OPR_FINFO | TYPECACHE_CMP_PROC |
								  TYPECACHE_CMP_PROC_FINFO | TYPECACHE_HASH_EXTENDED_PROC |
								  TYPECACHE_HASH_EXTENDED_PROC_FINFO);
	if (!OidIsValid(key->type->hash_extended_proc))
		*why = psprintf("a key of type %s, which cannot be hashed", format_type_be(type));
	else if (!OidIsValid(key->type->cmp_proc) ||
			 !OidIsValid(key->type->eq_opr_finfo.fn_oid))
		*why = psprintf("a key of type %s, which has no order", format_type_be(type));
	else if (!is_plain(key->type) || key->type->hash_extended_proc >= FirstGenbkiObjectId ||
			 key->type->eq_opr_finfo.fn_oid >= FirstGenbkiObjectId)
		*why = psprintf("a key of type %s", format_type_be(type));
	else if (OidIsValid(key->type->typcollation) && !OidIsValid(collation))
		*why = "a key without a collation";
	else if (OidIsValid(collation) && !get_collation_isdeterministic(collation))
		*why = "a key with a nondeterministic collation";
	else
	{
		if (type == TEXTOID || type == VARCHAROID)
			key->kind = SC_TALLY_BYTES;
		else
			key->kind = sc_tally_is_word(key->type, &is_signed) ?
				SC_TALLY_WORD : SC_TALLY_DATUM;
		look_up(collation);
		return true;
	}
	return false;
}

/* ----------------------------------------------------------------
 * What states there are
 * ----------------------------------------------------------------
 */

/* The type of the sum, and what adds to it; InvalidOid: there is none here. */
Oid
sc_tally_sum_of(Oid argtype, ScStateStep *step)
{
	static const struct
	{
		Oid			argtype;
		Oid			result;
		ScStateStep step;
	}			sums[] =
	{
		{INT2OID, INT8OID, SC_STEP_SUM_INT2},
		{INT4OID, INT8OID, SC_STEP_SUM_INT4},
		{INT8OID, NUMERICOID, SC_STEP_SUM_INT8},
		{FLOAT4OID, FLOAT4OID, SC_STEP_SUM_FLOAT4},
		{FLOAT8OID, FLOAT8OID, SC_STEP_SUM_FLOAT8},
		{NUMERICOID, NUMERICOID, SC_STEP_SUM_NUMERIC},
	};

	for (int i = 0; i < (int) lengthof(sums); i++)
	{
		if (sums[i].argtype == argtype)
		{
			*step = sums[i].step;
			return sums[i].result;
		}
	}
	return InvalidOid;
}

static bool
can_extreme(TypeCacheEntry *type, Oid collation, const char **why)
{
	if (!is_plain(type))
	{
		*why = psprintf("min and max of type %s", format_type_be(type->type_id));
		return false;
	}
	if (OidIsValid(type->typcollation) && !OidIsValid(collation))
	{
		*why = "min and max without a collation";
		return false;
	}
	look_up(collation);
	return true;
}

bool
sc_tally_describe_state(ScTallyState *state, ScTallyStateKind kind, Oid argtype,
						Oid collation, const char **why)
{
	ScStateStep step;

	memset(state, 0, sizeof(ScTallyState));
	state->kind = kind;
	state->collation = collation;
	if (OidIsValid(argtype))
	{
		argtype = getBaseType(argtype);
		state->type = lookup_type_cache(argtype,
										TYPECACHE_CMP_PROC | TYPECACHE_CMP_PROC_FINFO);
	}
	switch (kind)
	{
		case SC_TALLY_COUNT:
			state->result = INT8OID;
			return true;
		case SC_TALLY_SUM:
			state->result = sc_tally_sum_of(argtype, &step);
			if (OidIsValid(state->result))
				return true;
			*why = psprintf("sum of type %s", format_type_be(argtype));
			return false;
		default:
			state->result = argtype;
			return can_extreme(state->type, collation, why);
	}
}
