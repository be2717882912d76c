/*-------------------------------------------------------------------------
 *
 * no_translation.c
 *		Messages as they are written.
 *
 * To be preloaded where AddressSanitizer is: in Debian 12, a server that was
 * built with translations hangs under it in bindtextdomain(), for ever.
 *
 *-------------------------------------------------------------------------
 */
#include <libintl.h>

#undef bindtextdomain
#undef bind_textdomain_codeset
#undef dcgettext
#undef dgettext
#undef dngettext
#undef gettext
#undef ngettext
#undef textdomain

char *
bindtextdomain(const char *domain, const char *directory)
{
	return (char *) directory;
}

char *
bind_textdomain_codeset(const char *domain, const char *codeset)
{
	return (char *) codeset;
}

char *
textdomain(const char *domain)
{
	return (char *) domain;
}

char *
gettext(const char *message)
{
	return (char *) message;
}

char *
dgettext(const char *domain, const char *message)
{
	return (char *) message;
}

char *
dcgettext(const char *domain, const char *message, int category)
{
	return (char *) message;
}

char *
ngettext(const char *one, const char *many, unsigned long n)
{
	return (char *) (n == 1 ? one : many);
}

char *
dngettext(const char *domain, const char *one, const char *many, unsigned long n)
{
	return (char *) (n == 1 ? one : many);
}
