/*-------------------------------------------------------------------------
 *
 * decode_number.h
 *		Numbers as JSON writes them, and their values as far as those are
 *		exact.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_DECODE_NUMBER_H
#define SC_DECODE_NUMBER_H

#include "postgres.h"

/*
 * The end of the JSON number that begins here; NULL where there is none, or
 * it may be beyond numeric's limits.
 */
extern const char *sc_decode_number_end(const char *p, const char *end);

/* False where a text is no plain number, or its value not certain. */
extern bool sc_decode_number_int64(const char *text, size_t len, int64 min, int64 max,
								   int64 *number);
extern bool sc_decode_number_double(const char *text, size_t len, double *number);
extern bool sc_decode_number_float(const char *text, size_t len, float *number);

#endif							/* SC_DECODE_NUMBER_H */
