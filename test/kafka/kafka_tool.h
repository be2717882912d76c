/*-------------------------------------------------------------------------
 *
 * kafka_tool.h
 *		The parts of kafka_tool: what it asks, what it changes, what it produces.
 *
 * A command gets the words behind it.  What goes wrong ends the program.
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_TOOL_H
#define KAFKA_TOOL_H

#include <librdkafka/rdkafka.h>

#define TIMEOUT_MS 30000

extern char errstr[512];

/* kafka_tool.c */
extern void die(const char *format,...) __attribute__((noreturn, format(printf, 1, 2)));
extern int	count_partitions(rd_kafka_t *rk, const char *topic);

/* kafka_tool_topics.c */
extern void create(rd_kafka_t *rk, int nargs, char **args);
extern void create_topic(rd_kafka_t *rk, int nargs, char **args);
extern void delete(rd_kafka_t *rk, int nargs, char **args);
extern void delete_topic(rd_kafka_t *rk, const char *name);
extern void partitions(rd_kafka_t *rk, int nargs, char **args);
extern void delete_records(rd_kafka_t *rk, int nargs, char **args);
extern void change_acl(rd_kafka_t *rk, int adds, int nargs, char **args);

/* kafka_tool_produce.c */
extern rd_kafka_t *producer(const char *brokers, int transactional, int hanging);
extern void produce(rd_kafka_t *rk, int nargs, char **args);
extern void produce_counting(rd_kafka_t *rk, int nargs, char **args);
extern void end_hanging(rd_kafka_t *rk);

#endif
