/*-------------------------------------------------------------------------
 *
 * decode_escape.h
 *		The escapes of JSON strings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_DECODE_ESCAPE_H
#define SC_DECODE_ESCAPE_H

#include "postgres.h"

/*
 * Are all backslashes of a JSON text the beginning of an escape that jsonb
 * takes?  found: are there any at all?
 */
extern bool sc_decode_escapes_valid(const char *json, size_t len, bool *found);

/* Unescape a string that is valid; to has room for as many bytes. */
extern size_t sc_decode_unescape(const char *from, size_t len, char *to);

#endif							/* SC_DECODE_ESCAPE_H */
