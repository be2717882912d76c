/*-------------------------------------------------------------------------
 *
 * host.c
 *		libFuzzer inside the server program.
 *
 * The rooms call PostgreSQL: memory contexts, ereport(), input functions,
 * time zones, jsonb.  All of that is in the server's executable, which
 * cannot be linked to, but which exports its symbols to whatever is loaded
 * into it.  So the rooms and their targets are a shared library that is
 * preloaded into the program "postgres", and takes its main() over.  No
 * server is started: what main() would set up for a process, as far as the
 * rooms need it, is set up here.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "fuzz.h"

#include <dlfcn.h>
#include <unistd.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/pg_locale.h"

typedef int (*MainFunction) (int argc, char **argv, char **envp);
typedef int (*StartFunction) (MainFunction function, int argc, char **argv,
							  void (*init) (void), void (*fini) (void),
							  void (*rtld_fini) (void), void *stack_end);

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*one) (const uint8 *data, size_t len));
extern int	__libc_start_main(MainFunction function, int argc, char **argv,
							  void (*init) (void), void (*fini) (void),
							  void (*rtld_fini) (void), void *stack_end);

/* A fault of the kind that only the sanitizers see; not among those listed */
static void
read_behind(const char *data, size_t len)
{
	volatile char *room = fuzz_alloc(CurrentMemoryContext, 16);

	(void) room[len < 2 ? 0 : 16];
}

static const FuzzTarget overrun = {"overrun", NULL, read_behind};

static const FuzzTarget *const targets[] = {
	&fuzz_decode_json,
	&fuzz_decode_text,
	&fuzz_option,
	&fuzz_token,
	&fuzz_window,
};

static const FuzzTarget *target;
static MemoryContext input_cx;

void
fuzz_fail(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fprintf(stderr, "%s: ", target->name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	abort();
}

uint64
fuzz_take(FuzzBytes *bytes, int n)
{
	uint64		value = 0;

	while (n-- > 0)
		value = value << 8 | (bytes->p < bytes->end ? (unsigned char) *bytes->p++ : 0);
	return value;
}

/* Up to the next NUL */
char *
fuzz_take_string(FuzzBytes *bytes)
{
	size_t		len = strnlen(bytes->p, bytes->end - bytes->p);
	char	   *string = fuzz_alloc(CurrentMemoryContext, len + 1);

	memcpy(string, bytes->p, len);
	string[len] = '\0';
	bytes->p += Min(len + 1, (size_t) (bytes->end - bytes->p));
	return string;
}

int
fuzz_guard(void (*function) (void *), void *arg)
{
	MemoryContext cx = CurrentMemoryContext;
	volatile int sqlerrcode = 0;

	PG_TRY();
	{
		function(arg);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cx);
		error = CopyErrorData();
		FlushErrorState();
		sqlerrcode = error->sqlerrcode;
		switch (ERRCODE_TO_CATEGORY(sqlerrcode))
		{
			case ERRCODE_DATA_EXCEPTION:
			case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
			case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			case ERRCODE_FDW_ERROR:
			case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
				break;
			default:
				if (sqlerrcode != ERRCODE_FEATURE_NOT_SUPPORTED)
					fuzz_fail("SQLSTATE %s: %s", unpack_sql_state(sqlerrcode), error->message);
		}
	}
	PG_END_TRY();
	return sqlerrcode;
}

static int
run_one(const uint8 *data, size_t len)
{
	MemoryContextSwitchTo(input_cx);
	target->one((const char *) data, len);
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(input_cx);
	return 0;
}

/* As PostgreSQL's main() does, but for what a server has and we have not */
static void
start_process(const char *argv0)
{
	static char options[][2][32] = {
		{"max_stack_depth", "2MB"},
		{"log_min_messages", "panic"},
		{"timezone", "UTC"},
		{"timezone_abbreviations", "Default"},
		{"intervalstyle", "iso_8601"},	/* which must not matter */
		{"datestyle", "German"},
	};

	if (find_my_exec(argv0, my_exec_path) < 0)
		fuzz_fail("could not find the server program");
	MemoryContextInit();
	set_stack_base();
	InitializeGUCOptions();
	for (int i = 0; i < (int) lengthof(options); i++)
		SetConfigOption(options[i][0], options[i][1], PGC_POSTMASTER, PGC_S_OVERRIDE);
	SetDatabaseEncoding(PG_UTF8);
	input_cx = AllocSetContextCreate(TopMemoryContext, "fuzz input", ALLOCSET_DEFAULT_SIZES);
}

/* postgres TARGET, then what libFuzzer takes */
static int
fuzz_main(int argc, char **argv, char **envp)
{
	for (int i = 0; argc > 1 && i < (int) lengthof(targets); i++)
	{
		if (strcmp(targets[i]->name, argv[1]) == 0)
			target = targets[i];
	}
	if (argc > 1 && strcmp(overrun.name, argv[1]) == 0)
		target = &overrun;
	if (target == NULL)
	{
		for (int i = 0; i < (int) lengthof(targets); i++)
			puts(targets[i]->name);
		return argc > 1;
	}
	/* what a sanitizer starts, to name what it found, is no server program */
	unsetenv("LD_PRELOAD");
	start_process(argv[0]);
	if (target->start != NULL)
		target->start();

	argv[1] = argv[0];
	argc--;
	argv++;
	return LLVMFuzzerRunDriver(&argc, &argv, run_one);
}

int
__libc_start_main(MainFunction function, int argc, char **argv,
				  void (*init) (void), void (*fini) (void),
				  void (*rtld_fini) (void), void *stack_end)
{
	StartFunction start = (StartFunction) dlsym(RTLD_NEXT, "__libc_start_main");

	return start(fuzz_main, argc, argv, init, fini, rtld_fini, stack_end);
}
