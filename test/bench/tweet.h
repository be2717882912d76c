/*-------------------------------------------------------------------------
 *
 * tweet.h
 *		Messages shaped like the tweets of Twitter's API.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TWEET_H
#define TWEET_H

#include <stdint.h>
#include <time.h>

#define TWEET_MAX 16384

/*
 * Write one tweet of that time, with the hashtags #tag<a> and #tag<b> in its
 * text, into a buffer of TWEET_MAX bytes.  Returns its length.
 */
extern int	tweet_compose(char *buf, long id, time_t when, int a, int b,
						  uint64_t (*draw) (void));

#endif							/* TWEET_H */
