# streamcount: Kafka topics in, live rollups out, inside PostgreSQL
#
#	make, make install		the usual PGXS way; PG_CONFIG=… names another server
#	make installcheck		tests without Kafka, on the server that is running
#	make test				installs what is missing, then every test there is;
#							SANITIZE=yes, VALGRIND=yes: under such
#	make demo				the whole thing at work, for half a minute
#	make bench				how fast it is
#	make soak				random faults under load: FAULTS=1000 SEED=n
#	make figures			what the README says of faults, measured here
#	make fuzz				any bytes into what reads bytes, FUZZ_SECONDS a target
#	make rooms				who may include what
#	make mutants			is it seen when the code is wrong?

MODULE_big = streamcount
OBJS = \
	src/aggregate.o \
	src/arrivals.o \
	src/arrivals_again.o \
	src/arrivals_ask.o \
	src/arrivals_event.o \
	src/batch.o \
	src/catalog.o \
	src/choose.o \
	src/clock.o \
	src/compile.o \
	src/compile_carry.o \
	src/compile_expr.o \
	src/compile_from.o \
	src/compile_tally.o \
	src/ddl_rollup.o \
	src/ddl_stream.o \
	src/decode.o \
	src/decode_convert.o \
	src/decode_escape.o \
	src/decode_input.o \
	src/decode_json.o \
	src/decode_meta.o \
	src/decode_number.o \
	src/decode_quick.o \
	src/execute.o \
	src/fdw.o \
	src/flush.o \
	src/granularity.o \
	src/guard.o \
	src/guc.o \
	src/identity.o \
	src/judge.o \
	src/launcher.o \
	src/launcher_database.o \
	src/launcher_unit.o \
	src/ledger.o \
	src/ledger_correct.o \
	src/ledger_progress.o \
	src/left_out.o \
	src/left_out_again.o \
	src/lock_wait.o \
	src/module.o \
	src/moment.o \
	src/moment_quick.o \
	src/objects.o \
	src/option.o \
	src/option_check.o \
	src/option_start.o \
	src/probe.o \
	src/refetch.o \
	src/refuse.o \
	src/refuse_stream.o \
	src/report.o \
	src/retry.o \
	src/scan.o \
	src/scan_ask.o \
	src/session.o \
	src/source.o \
	src/source_ask.o \
	src/source_conf.o \
	src/source_event.o \
	src/source_fetch.o \
	src/source_library.o \
	src/source_query.o \
	src/source_verify.o \
	src/spool.o \
	src/sqlapi_mark.o \
	src/sqlapi_reject.o \
	src/sqlapi_rollup.o \
	src/sqlapi_stats.o \
	src/sqlapi_steer.o \
	src/sqlapi_step.o \
	src/sqlapi_token.o \
	src/sqlapi_way.o \
	src/sqlapi_window.o \
	src/sqlapi_window_call.o \
	src/stall.o \
	src/starts.o \
	src/stats.o \
	src/stats_apart.o \
	src/stats_crash.o \
	src/stats_crash_file.o \
	src/stats_launch.o \
	src/stats_live.o \
	src/stats_unit.o \
	src/stats_withdraw.o \
	src/stream.o \
	src/tallier.o \
	src/tallier_create.o \
	src/tallier_rows.o \
	src/tally.o \
	src/tally_describe.o \
	src/tally_key.o \
	src/tally_read.o \
	src/tally_sort.o \
	src/tally_state.o \
	src/tally_sum.o \
	src/task.o \
	src/token.o \
	src/token_char.o \
	src/token_domain.o \
	src/token_path.o \
	src/token_tag.o \
	src/token_url.o \
	src/unit.o \
	src/unit_changed.o \
	src/unit_position.o \
	src/version.o \
	src/way_executor.o \
	src/way_tallied.o \
	src/way_tally.o \
	src/window.o \
	src/withdraw.o \
	src/worker.o \
	src/worker_ask.o \
	src/worker_watch.o

# What finds the tokens of JSON: simdjson where it is, or the same in plain C
# (WITH_SIMDJSON=no).  Between the two, "make clean-objects".
WITH_SIMDJSON ?= $(shell pkg-config --exists simdjson 2>/dev/null && \
	command -v $(CXX) >/dev/null && echo yes || echo no)
ifeq ($(WITH_SIMDJSON),yes)
OBJS += src/decode_index_simdjson.o
SIMDJSON_LIBS := $(shell pkg-config --libs simdjson) -lstdc++
else
OBJS += src/decode_index_plain.o
endif

# streamcount_points.so, for tests: the same with crash points, compiled anew
# where they are (src/crash_point.h).
WITH_POINTS = src/arrivals.o src/execute.o src/guc.o src/ledger.o
ifeq ($(CRASH_POINTS),yes)
MODULE_big = streamcount_points
OBJS := $(filter-out $(WITH_POINTS),$(OBJS)) $(WITH_POINTS:.o=_points.o)
OBJS += src/crash_point.o
endif
src/%_points.o: src/%.c
	$(CC) $(CFLAGS) $(CPPFLAGS) -DSTREAMCOUNT_CRASH_POINTS -c -o $@ $<

EXTENSION = streamcount
DATA = $(wildcard sql/streamcount--*.sql)

# test/sql: REGRESS runs anywhere, REGRESS_PRELOADED needs the library in
# shared_preload_libraries; the same for test/specs.
REGRESS = rejects rollup_definition stream_ddl stream_options token which_way window
REGRESS_PRELOADED =
REGRESS_OPTS = --inputdir=test --load-extension=streamcount
ISOLATION = retrying steering
ISOLATION_OPTS = --inputdir=test --outputdir=. --load-extension=streamcount

# Programs for the tests, the demo and the benchmark
PROGRAMS = \
	test/bench/drain \
	test/bench/freshness \
	test/bench/generate \
	test/demo/tweets \
	test/kafka/follow \
	test/kafka/kafka_tool \
	test/kafka/mock_broker
PRELOADED = test/kafka/older_library.so test/kafka/stepped_waits.so
EXTRA_CLEAN = $(PROGRAMS) $(PRELOADED) test/kafka/target src/decode_index_*.o \
	streamcount_points.so src/*_points.o src/crash_point.o

RDKAFKA_CFLAGS := $(shell pkg-config --cflags rdkafka 2>/dev/null)
RDKAFKA_LIBS := $(shell pkg-config --libs rdkafka 2>/dev/null || echo -lrdkafka)
# PostgreSQL's own headers and callback types have parameters that go unused.
# The version that CREATE EXTENSION installs is the one that the library knows.
STREAMCOUNT_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" streamcount.control)
PG_CPPFLAGS = -DSTREAMCOUNT_VERSION='"$(STREAMCOUNT_VERSION)"' -Wall -Wextra -Wno-unused-parameter $(RDKAFKA_CFLAGS)
PG_CXXFLAGS = -fno-exceptions -fno-rtti
SHLIB_LINK = $(RDKAFKA_LIBS) $(SIMDJSON_LIBS) -Wl,--version-script=src/exports.map

# SANITIZE=yes: an overrun or undefined behaviour ends the process that does
# it, with a report.  A server for it is made by "make test SANITIZE=yes".
ifeq ($(SANITIZE),yes)
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=undefined
PG_CFLAGS = $(SANITIZERS) -O1 -fno-omit-frame-pointer
PG_CXXFLAGS += $(SANITIZERS) -O1 -fno-omit-frame-pointer
SHLIB_LINK += $(SANITIZERS)
endif

# VALGRIND=yes: what Valgrind reports has to name our lines; not every server's
# flags have it do so.
ifneq ($(VALGRIND),)
PG_CFLAGS += -g
PG_CXXFLAGS += -g
endif

# LLVM bitcode would only serve to inline our functions into jitted
# expressions, and needs the very clang that built the server.
ifneq ($(origin with_llvm), command line)
override with_llvm = no
endif

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))
# Debian has PGXS in the client's package, and the headers in another one.
ifneq ($(and $(PGXS),$(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h)),)
include $(PGXS)
$(OBJS): $(wildcard src/*.h) streamcount.control
$(MODULE_big).so: src/exports.map
ifeq ($(SANITIZE),yes)
override CPPFLAGS += -U_FORTIFY_SOURCE
endif
else
all install installcheck:
	@echo "$(PG_CONFIG) is not there, or its server's headers are not:" >&2
	@echo "'make prerequisites' installs them, PG_CONFIG=/path/to/pg_config names them" >&2
	@exit 1
clean:
	rm -rf $(OBJS) streamcount.so $(EXTRA_CLEAN)
endif

test/bench/freshness: PROGRAM_CFLAGS = -I$(shell $(PG_CONFIG) --includedir)
test/bench/freshness: PROGRAM_LIBS = -L$(shell $(PG_CONFIG) --libdir) -lpq
test/kafka/kafka_tool: test/kafka/kafka_tool_topics.c test/kafka/kafka_tool_produce.c test/kafka/kafka_tool.h
test/bench/generate: test/bench/mutate.c test/bench/mutate.h test/bench/tweet.c test/bench/tweet.h
programs: $(PROGRAMS) $(PRELOADED)
$(PROGRAMS): %: %.c
	$(CC) -std=gnu99 -O2 -g -Wall -Wextra $(RDKAFKA_CFLAGS) $(PROGRAM_CFLAGS) -o $@ $(filter %.c,$^) \
		$(RDKAFKA_LIBS) $(PROGRAM_LIBS) -lm
$(PRELOADED): %.so: %.c
	$(CC) -std=gnu11 -O2 -g -Wall -Wextra -fPIC -shared -o $@ $< -lpthread

prerequisites:
	@test/bin/prerequisites test

test demo bench: export REGRESS_TESTS = $(REGRESS)
test demo bench: export PRELOADED_TESTS = $(REGRESS_PRELOADED)
test demo bench: export ISOLATION_TESTS = $(ISOLATION)
test:
	@test/bin/run $(TESTS)
demo:
	@test/demo/run
bench:
	@test/bench/run

soak:
	@test/soak/run
figures:
	@test/bin/figures

fuzz:
	@test/fuzz/run $(FUZZ_TARGETS)

rooms:
	@test/bin/rooms

mutants:
	@test/mutants/run

clean-objects:
	rm -f src/*.o streamcount.so streamcount_points.so

clean: clean-work
clean-work:
	rm -rf tmp_check results output_iso regression.diffs regression.out

.PHONY: programs prerequisites test demo bench soak figures fuzz rooms mutants clean-objects clean-work
