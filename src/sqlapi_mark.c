/*-------------------------------------------------------------------------
 *
 * sqlapi_mark.c
 *		The aggregate that notes which messages a query makes something of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "fmgr.h"
#include "utils/lsyscache.h"

#include "batch.h"

PG_FUNCTION_INFO_V1(streamcount_mark);

/* Arguments before the keys: the aggregate's state, and the row's number. */
#define KEYS_FROM 2

/* It is called for every row: the lengths of the keys' types are looked up once. */
static const int16 *
key_lengths(FunctionCallInfo fcinfo)
{
	int16	   *lengths = fcinfo->flinfo->fn_extra;

	if (lengths == NULL)
	{
		lengths = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(int16) * FUNC_MAX_ARGS);
		for (int i = KEYS_FROM; i < PG_NARGS(); i++)
			lengths[i] = get_typlen(get_fn_expr_argtype(fcinfo->flinfo, i));
		fcinfo->flinfo->fn_extra = lengths;
	}
	return lengths;
}

static void
check_length(FunctionCallInfo fcinfo)
{
	const int16 *lengths = key_lengths(fcinfo);
	Size		bytes = 0;

	for (int i = KEYS_FROM; i < PG_NARGS(); i++)
	{
		if (PG_ARGISNULL(i))
			continue;
		if (lengths[i] == -1)
			bytes += toast_raw_datum_size(PG_GETARG_DATUM(i)) - VARHDRSZ;
		else if (lengths[i] == -2)
			bytes += strlen(DatumGetCString(PG_GETARG_DATUM(i)));
	}
	if (bytes > SC_MAX_KEY_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("group keys are longer than %d bytes in all", SC_MAX_KEY_BYTES),
				 errdetail("They have %zu bytes.", bytes)));
}

/*
 * Transition function of streamcount.mark(), which sc_compile() puts into
 * HAVING: always true, and on its way it marks the message in the batch in
 * hand.  Without one it does nothing.
 */
Datum
streamcount_mark(PG_FUNCTION_ARGS)
{
	if (PG_NARGS() > KEYS_FROM)
		check_length(fcinfo);
	if (!PG_ARGISNULL(1))
		sc_batch_mark((ItemPointer) PG_GETARG_POINTER(1));
	PG_RETURN_BOOL(true);
}
