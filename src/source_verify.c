/*-------------------------------------------------------------------------
 *
 * source_verify.c
 *		What is wrong with the certificate of a broker.
 *
 * OpenSSL has judged the certificate, and librdkafka says of any bad one the
 * same: that it could not be verified.  Its only way to learn why is a
 * callback, the one that there is here.  It runs on librdkafka's threads, so
 * it uses nothing but its arguments and constants, and what it says comes to
 * us as all logs do, by a queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "source_internal.h"

/* librdkafka logs what the callback says under this name, behind these words. */
#define FACILITY "SSLCERTVRFY"
#define MARK "callback failed: "

/* OpenSSL's X509_V_ERR_..., which are part of its binary interface */
static const struct
{
	int			code;
	const char *words;
}			causes[] =
{
	{2, "the broker's certificate is of an authority that is not trusted"},
	{9, "the broker's certificate is not valid yet"},
	{10, "the broker's certificate has expired"},
	{18, "the broker's certificate is signed by itself alone"},
	{19, "the broker's certificate is of an authority that is not trusted"},
	{20, "the broker's certificate is of an authority that is not trusted"},
	{21, "the broker's certificate is of an authority that is not trusted"},
	{23, "the broker's certificate has been revoked"},
	{62, "the broker's certificate is for another host name"},
	{64, "the broker's certificate is for another IP address"},
};

/*
 * Called for each certificate of the chain, and for each fault that was
 * found.  The answer is OpenSSL's own: what it refuses stays refused.
 */
static int
say_why(rd_kafka_t *rk, const char *broker_name, int32_t broker_id, int *x509_error,
		int depth, const char *certificate, size_t size,
		char *errstr, size_t errstr_size, void *opaque)
{
	const char *words = "the broker's certificate cannot be verified";

	if (*x509_error == 0)
		return 1;
	for (int i = 0; i < (int) lengthof(causes); i++)
	{
		if (causes[i].code == *x509_error)
			words = causes[i].words;
	}
	strlcpy(errstr, words, errstr_size);
	return 0;
}

/* A librdkafka without TLS refuses it, and needs none. */
void
sc_source_name_causes(rd_kafka_conf_t *conf)
{
	(void) rd_kafka_conf_set_ssl_cert_verify_cb(conf, say_why);
}

const char *
sc_source_certificate_cause(const char *facility, const char *text)
{
	const char *mark = strcmp(facility, FACILITY) == 0 ? strstr(text, MARK) : NULL;

	return mark ? mark + strlen(MARK) : NULL;
}
