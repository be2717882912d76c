/*-------------------------------------------------------------------------
 *
 * token_path.h
 *		Paths and queries of URLs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TOKEN_PATH_H
#define SC_TOKEN_PATH_H

/* The end of the path that begins at the slash p */
extern const char *sc_token_path_end(const char *p, const char *end);

/* The end of the query that may begin at p; p where there is none */
extern const char *sc_token_query_end(const char *p, const char *end);

#endif							/* SC_TOKEN_PATH_H */
