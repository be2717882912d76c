/*-------------------------------------------------------------------------
 *
 * token_url.h
 *		The URLs of a text, in order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TOKEN_URL_H
#define SC_TOKEN_URL_H

#include "token.h"

extern void sc_token_begin_urls(ScTokenUrls *urls, const char *text,
								const char *end);
extern bool sc_token_next_url(ScTokenUrls *urls, const char **start,
							  const char **end);

#endif							/* SC_TOKEN_URL_H */
