/*
 * older_library.c
 *		librdkafka that says it is 1.9.2, before streamcount's oldest.
 *
 * To be preloaded into a server; of it nothing but the version is old.
 */
int			rd_kafka_version(void);
const char *rd_kafka_version_str(void);

int
rd_kafka_version(void)
{
	return 0x010902ff;
}

const char *
rd_kafka_version_str(void)
{
	return "1.9.2";
}
