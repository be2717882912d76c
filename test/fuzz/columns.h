/*-------------------------------------------------------------------------
 *
 * columns.h
 *		A message read in both ways: what is sure must be right.
 *
 *-------------------------------------------------------------------------
 */
#ifndef COLUMNS_H
#define COLUMNS_H

#include "streamcount.h"

/* Both readers of a stream's columns */
typedef struct FuzzColumns FuzzColumns;

extern FuzzColumns *fuzz_columns_create(ScFormat format, ScColumn *columns, int ncolumns);

/*
 * Read the payload by decode_quick.h, and again by decode.h; fail where the
 * former is sure of what the latter refuses, or has otherwise.  False: the
 * payload as a whole is in doubt.
 */
extern bool fuzz_columns_compare(FuzzColumns *columns, const char *payload, size_t len);

#endif							/* COLUMNS_H */
