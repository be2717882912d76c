# test/bin/common.sh
#		What `make test`, `make demo`, `make bench` and `make soak` have in common: where
#		things are, who runs the servers, what must be gone at the end.
#
# To be sourced by a bash script that has set $tree to the project's root.

set -u
umask 022
cd "$tree" || exit 1

# Everything that is made lives here.
work=$tree/tmp_check

# A database needs a locale that has UTF-8, and nobody's habits.
export LANG=C.UTF-8 PG_COLOR=never
unset LC_ALL LC_CTYPE LC_COLLATE LANGUAGE
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGOPTIONS PGSERVICE PGPASSWORD PGPASSFILE PGSSLMODE
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

die()
{
	echo "$*" >&2
	exit 1
}

# PostgreSQL refuses to run as root: then an account without rights does it.
runner=
if [ "$(id -u)" -eq 0 ]; then
	for account in postgres nobody; do
		if id "$account" >/dev/null 2>&1; then
			runner=$account
			break
		fi
	done
fi

as_runner()
{
	if [ -n "$runner" ]; then
		runuser -u "$runner" -- env HOME="$work/home" "$@"
	else
		"$@"
	fi
}

# Where that account cannot reach the tree (a checkout in /root, a umask of
# 077), go on in a copy that it can reach; the data for tests, too.
go_where_runner_can_read()		# script, arguments
{
	local copy status script=$1

	[ -n "$runner" ] || return 0
	runuser -u "$runner" -- test -r "$tree/Makefile" -a -r "$tree/$script" && return 0
	copy=$(mktemp -d /var/tmp/streamcount.XXXXXX) || exit 1
	echo "$tree cannot be read by $runner, who has to run the servers: going on in $copy/main"
	mkdir "$copy/main"
	tar -c --exclude=./tmp_check --exclude=./.git . | tar -x -C "$copy/main"
	if [ -d ../shared ]; then
		mkdir "$copy/shared"
		tar -c -C ../shared data peers 2>/dev/null | tar -x -C "$copy/shared"
	fi
	chmod -R u+w,go+rX "$copy"
	shift
	"$copy/main/$script" "$@"
	status=$?
	[ $status -ne 0 ] || [ -n "${DEMO_KEEP:-}" ] || rm -rf "$copy"
	exit $status
}

# Every process that a run starts, however far it detaches itself, inherits
# this mark, except those of PostgreSQL, which overwrite their environment:
# they are found by their working directory.
export STREAMCOUNT_RUN=$$.$RANDOM$RANDOM

left_behind()		# directories whose servers are ours
{
	local proc pid cwd dir

	for proc in /proc/[0-9]*; do
		pid=${proc#/proc/}
		[ "$pid" != $$ ] || continue
		if grep -qszxF "STREAMCOUNT_RUN=$STREAMCOUNT_RUN" "$proc/environ"; then
			echo "$pid"
		else
			cwd=$(readlink "$proc/cwd" 2>/dev/null)
			for dir; do
				[[ $cwd/ != "$dir"/* ]] || echo "$pid"
			done
		fi
	done
}

describe_process()
{
	printf '%s %s\n' "$1" "$({ tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null)"
}

# End what is still there; true when there was nothing.
end_left_behind()		# directories
{
	local pid pids i

	for i in 1 2 3 4 5 6 7 8 9 10; do
		pids=$(left_behind "$@")
		[ -n "$pids" ] || return 0
		sleep 0.3
	done
	for pid in $pids; do
		echo "left behind: $(describe_process "$pid")" >&2
	done
	kill -QUIT $pids 2>/dev/null
	sleep 1
	kill -KILL $(left_behind "$@") 2>/dev/null
	return 1
}

prepare_work()		# subdirectories to begin anew
{
	local dir

	mkdir -p "$work" 2>/dev/null && [ -w "$work" ] ||
		die "cannot write to $work: it belongs to $(stat -c %U "$work" 2>/dev/null || echo "somebody else")"
	for dir in home "$@"; do
		rm -rf "${work:?}/$dir" && mkdir -p "$work/$dir" ||
			die "cannot begin $work/$dir anew: is it another user's?"
		[ -z "$runner" ] || chown "$runner" "$work/$dir"
	done
}

# Who looks at what the server does: SANITIZE=yes or VALGRIND=yes.  Then its
# program in the copy is this, and what was found is in $work/reports.
wrap_server()		# program
{
	local preload library suppressions=
	# initdb's work has nothing of ours in it
	local plainly='case ${1:-} in --boot|--check|--single|-V) exec -a "$0" "$0.bare" "$@" ;; esac'

	mv "$1" "$1.bare" || exit 1
	if [ "${SANITIZE:-}" = yes ]; then
		gcc -shared -fPIC -O1 -o "$work/root/no_translation.so" test/fuzz/no_translation.c ||
			die "could not build $work/root/no_translation.so"
		for library in libasan.so libubsan.so; do
			preload="${preload:-}$(gcc -print-file-name=$library) "
		done
		cat >"$1" <<-END
			#!/bin/bash
			$plainly
			export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0:quarantine_size_mb=16:log_path=$work/reports/asan
			export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1:log_path=$work/reports/ubsan
			export LD_PRELOAD="$preload$work/root/no_translation.so \${LD_PRELOAD:-}"
			exec -a "\$0" "\$0.bare" "\$@"
		END
	else
		# PostgreSQL's own list, where there is one
		[ ! -f "$original/../valgrind.supp" ] ||
			suppressions=--suppressions=$(realpath "$original/../valgrind.supp")
		cat >"$1" <<-END
			#!/bin/bash
			$plainly
			exec valgrind --quiet --leak-check=no --num-callers=50 --fullpath-after= \\
				$suppressions ${VALGRIND_OPTIONS:-} \\
				--log-file=$work/reports/valgrind.%p "\$0.bare" "\$@"
		END
	fi
	chmod +x "$1"
}

# Build, and install into a copy of PostgreSQL's files: PostgreSQL finds its
# libraries relative to its programs, so the system's own is not touched.
# Sets pg_config, pgxs and bindir (of the copy).
stage()
{
	local original program pkglibdir sharedir source built root=$work/root

	pg_config=$(test/bin/prerequisites pg_config) || die "no PostgreSQL to build against"
	original=$("$pg_config" --bindir)
	pkglibdir=$("$pg_config" --pkglibdir)
	sharedir=$("$pg_config" --sharedir)
	pgxs=$pkglibdir/pgxs
	bindir=$root$original

	source="$("$pg_config" --version) in $original"
	built="$source, simdjson ${WITH_SIMDJSON:-as it is}, sanitizers ${SANITIZE:-no}, valgrind ${VALGRIND:-no}"
	if [ "$(cat "$work/built" 2>/dev/null)" != "$built" ]; then
		make -s PG_CONFIG="$pg_config" clean-objects >/dev/null 2>&1
		echo "$built" >"$work/built"
	fi
	if ! make -j2 PG_CONFIG="$pg_config" all programs >"$work/build.log" 2>&1; then
		grep -E '(error|warning):|undefined reference|\*\*\*' "$work/build.log" | head -n 40 >&2
		die "could not build: see $work/build.log"
	fi

	source="$source, sanitizers ${SANITIZE:-no}, valgrind ${VALGRIND:-no} ${VALGRIND_OPTIONS:-}"
	if [ "$(cat "$root/source" 2>/dev/null)" != "$source" ]; then
		rm -rf "$root"
		mkdir -p "$bindir" "$root$pkglibdir" "$root$sharedir"
		for program in clusterdb createdb createuser dropdb dropuser initdb \
			pg_amcheck pg_basebackup pg_checksums pg_config pg_controldata pg_ctl \
			pg_dump pg_dumpall pg_isready pg_receivewal pg_recvlogical pg_resetwal \
			pg_restore pg_rewind pg_upgrade pg_verifybackup pg_waldump pgbench \
			postgres psql reindexdb vacuumdb
		do
			[ ! -x "$original/$program" ] || cp -L "$original/$program" "$bindir/"
		done
		cp -a "$pkglibdir/." "$root$pkglibdir/" && cp -a "$sharedir/." "$root$sharedir/" ||
			die "could not copy PostgreSQL to $root"
		[ "${SANITIZE:-}${VALGRIND:-}" = '' ] || wrap_server "$bindir/postgres"
		echo "$source" >"$root/source"
	fi
	make -s PG_CONFIG="$pg_config" DESTDIR="$root" install >>"$work/build.log" 2>&1 ||
		die "could not install into $root: see $work/build.log"
}

# Run a program in the surroundings that PostgreSQL's test modules want; what it
# makes comes into the directory.
as_tester()		# directory, program, arguments
{
	local dir=$1

	shift
	mkdir -p "$dir/tmp_check/log"
	[ -z "$runner" ] || chown -R "$runner" "$dir"
	as_runner env PATH="$bindir:$PATH" PG_CONFIG="$bindir/pg_config" \
		PG_REGRESS="$pgxs/src/test/regress/pg_regress" \
		TESTDIR="$dir" TESTDATADIR="$dir/tmp_check" TESTLOGDIR="$dir/tmp_check/log" \
		PERL5LIB="$pgxs/src/test/perl:$tree/test/perl" \
		STREAMCOUNT_CLASSES="$classes" \
		"$@"
}

# The same once more, by hard links, with the library that has crash points.
# Sets points, to where its bin and lib are.
stage_points()
{
	local pkglibdir root=$work/root

	pkglibdir=$("$pg_config" --pkglibdir)
	make -j2 PG_CONFIG="$pg_config" CRASH_POINTS=yes all >>"$work/build.log" 2>&1 ||
		die "could not build crash points: see $work/build.log"
	rm -rf "${root}_points"
	cp -al "$root" "${root}_points" && rm "${root}_points$pkglibdir/streamcount.so" &&
		cp streamcount_points.so "${root}_points$pkglibdir/streamcount.so" ||
		die "could not copy $root to ${root}_points"
	points=${root}_points$(dirname "$("$pg_config" --bindir)")
}

# What the tests need of Python's packages, in directories of their own: pgspot,
# and a newer librdkafka, which one of them brings.  Where they cannot be had,
# the tests that ask for them say so and skip.
tools=$work/tools
fetch_tools()
{
	local pip=$tools/python/bin/pip

	[ ! -f "$tools/complete" ] || return 0
	prepare_work tools
	echo "fetching pgspot and a newer librdkafka by pip"
	# By the account that will run them, whose Python may be another one.
	{
		as_runner python3 -m venv "$tools/python" &&
			as_runner timeout 120 "$pip" -q --retries 1 --timeout 15 install pgspot==0.9.4 &&
			as_runner timeout 120 "$pip" -q --retries 1 --timeout 15 \
				download --no-deps -d "$tools" confluent-kafka==2.16.1 &&
			as_runner python3 -m zipfile -e "$tools"/confluent_kafka-*.whl "$tools/wheel" &&
			mkdir "$tools/librdkafka" &&
			cp "$tools"/wheel/confluent_kafka.libs/librdkafka-*.so.1 "$tools/librdkafka/librdkafka.so.1" &&
			rm -rf "$tools"/confluent_kafka-*.whl "$tools/wheel" &&
			touch "$tools/complete"
	} >"$work/pip.log" 2>&1 || echo "could not fetch them: see $work/pip.log"
}

# The jars of the real broker: downloaded once, by whoever started this.
fetch_jars()
{
	local jars=test/kafka/target/jars

	[ -z "$(find $jars -name 'kafka_2.13-*.jar' -newer test/kafka/pom.xml 2>/dev/null)" ] || return 0
	mkdir -p "$work"
	echo "fetching Kafka's jars by Maven"
	mvn -q -B -f test/kafka/pom.xml package >"$work/maven.log" 2>&1 && touch $jars/*.jar && return 0
	tail -n 5 "$work/maven.log" >&2
	echo "could not fetch Kafka's jars: see $work/maven.log" >&2
	return 1
}

# For brokers to start sooner; without it they start all the same.
classes=$work/classes/archive
archive_classes()
{
	local jars=(test/kafka/target/jars/kafka_2.13-*.jar)

	[ ! "$classes" -nt "${jars[0]}" ] || return 0
	prepare_work classes
	as_tester "$work/classes" timeout 60 perl test/kafka/archive_classes "$classes" \
		>"$work/classes.log" 2>&1 </dev/null || echo "no archive of Kafka's classes: see $work/classes.log"
}
