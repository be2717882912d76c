/*-------------------------------------------------------------------------
 *
 * mutate.h
 *		Messages made hostile.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MUTATE_H
#define MUTATE_H

#include <stdint.h>

/*
 * Change a message of that length in up to three places, in a buffer of that
 * size.  Returns its new length.
 */
extern int	mutate(char *buf, int len, int size, uint64_t (*draw) (void));

#endif							/* MUTATE_H */
