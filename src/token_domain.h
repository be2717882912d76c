/*-------------------------------------------------------------------------
 *
 * token_domain.h
 *		Domain names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_TOKEN_DOMAIN_H
#define SC_TOKEN_DOMAIN_H

/* The end of the top-level domain that begins at p, or NULL. */
extern const char *sc_token_tld_end(const char *p, const char *end);

/* Find the first domain between p and end whose labels but the last are
 * ASCII or accented Latin. */
extern bool sc_token_ascii_domain(const char *p, const char *end,
								  const char **start, const char **stop);

/* Whether the DNS would take every label of a domain for its length. */
extern bool sc_token_labels_fit(const char *p, const char *end);

#endif							/* SC_TOKEN_DOMAIN_H */
