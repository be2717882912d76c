/*-------------------------------------------------------------------------
 *
 * decode_index.h
 *		Where the tokens of a JSON payload begin.
 *
 * A token is a structural character, the opening quote of a string, or the
 * first byte of any other scalar.  There are two implementations of this,
 * one of which is built: decode_index_simdjson.cpp, and decode_index_plain.c
 * for where simdjson is absent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_DECODE_INDEX_H
#define SC_DECODE_INDEX_H

#include <stddef.h>
#include <stdint.h>

/* Longer payloads are left to PostgreSQL's parser: it bounds our memory. */
#define SC_DECODE_INDEX_MAX ((size_t) 1024 * 1024)

#ifdef __cplusplus
extern "C"
{
#endif

/*
 * The positions of the payload's tokens, in their order, until the next
 * call; NULL where the payload is empty, too long, no UTF-8, has an unclosed
 * string or a control character in one, or where memory is lacking.
 *
 * What is outside of strings and no blank is either a token's first byte, or
 * directly behind a byte of a scalar that is no string.  So a reader that
 * sees each such scalar end at a blank or a structural character, and finds
 * only proper tokens, has seen every byte that counts.
 */
extern const uint32_t *sc_decode_index(const char *payload, size_t len, size_t *ntokens);

#ifdef __cplusplus
}
#endif

#endif							/* SC_DECODE_INDEX_H */
