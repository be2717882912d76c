/*-------------------------------------------------------------------------
 *
 * sqlapi_token.c
 *		The tokenizers as set-returning SQL functions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "token.h"

PG_FUNCTION_INFO_V1(streamcount_hashtags);
PG_FUNCTION_INFO_V1(streamcount_mentions);
PG_FUNCTION_INFO_V1(streamcount_cashtags);
PG_FUNCTION_INFO_V1(streamcount_urls);
PG_FUNCTION_INFO_V1(streamcount_words);

/*
 * Another encoding could hold neither every character nor the folded form of
 * those it has; the same message must give the same tokens in every database.
 */
static void
check_encoding(void)
{
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tokenizers need a database with encoding \"%s\"",
						pg_encoding_to_char(PG_UTF8)),
				 errdetail("The encoding of this database is \"%s\".",
						   GetDatabaseEncodingName())));
}

static ScTokens *
begin_tokens(FuncCallContext *funcctx, ScTokenKind kind, Datum argument)
{
	MemoryContext old = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
	text	   *input = DatumGetTextPCopy(argument);
	ScTokens   *tokens = palloc(sizeof(ScTokens));

	sc_token_begin(tokens, kind, VARDATA_ANY(input),
				   VARSIZE_ANY_EXHDR(input));
	MemoryContextSwitchTo(old);
	return tokens;
}

static text *
token_to_text(const ScToken *token)
{
	size_t		size = token->as_is ? token->len :
		SC_TOKEN_FOLD_MAX(token->len);
	text	   *result = palloc(VARHDRSZ + size);

	SET_VARSIZE(result,
				VARHDRSZ + sc_token_fold(token, VARDATA(result), size));
	return result;
}

/* One row for each token of the first argument, in order. */
static Datum
tokens_srf(FunctionCallInfo fcinfo, ScTokenKind kind)
{
	FuncCallContext *funcctx;
	ScToken		token;

	if (SRF_IS_FIRSTCALL())
	{
		check_encoding();
		funcctx = SRF_FIRSTCALL_INIT();
		funcctx->user_fctx = begin_tokens(funcctx, kind, PG_GETARG_DATUM(0));
	}
	funcctx = SRF_PERCALL_SETUP();
	if (!sc_token_next(funcctx->user_fctx, &token))
		SRF_RETURN_DONE(funcctx);
	SRF_RETURN_NEXT(funcctx, PointerGetDatum(token_to_text(&token)));
}

Datum
streamcount_hashtags(PG_FUNCTION_ARGS)
{
	return tokens_srf(fcinfo, SC_TOKEN_HASHTAG);
}

Datum
streamcount_mentions(PG_FUNCTION_ARGS)
{
	return tokens_srf(fcinfo, SC_TOKEN_MENTION);
}

Datum
streamcount_cashtags(PG_FUNCTION_ARGS)
{
	return tokens_srf(fcinfo, SC_TOKEN_CASHTAG);
}

Datum
streamcount_urls(PG_FUNCTION_ARGS)
{
	return tokens_srf(fcinfo, SC_TOKEN_URL);
}

Datum
streamcount_words(PG_FUNCTION_ARGS)
{
	return tokens_srf(fcinfo, SC_TOKEN_WORD);
}
