/*-------------------------------------------------------------------------
 *
 * tallier_rows.c
 *		A rollup's tally into rows of its data table.
 *
 * The tally is sorted by keys, then by time, so the windows of a coarser
 * granularity are runs of entries: each is added up as the entries pass, and
 * given when the first one behind it comes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "tallier_private.h"

/* One granularity, where the walk stands. */
typedef struct Grid
{
	const ScGranularity *granularity;
	ScWindow	window;
	bool		open;			/* sum holds entries of the window */
	ScTallySum *sum;			/* NULL: of a chain's base */
	text	   *name;
	char		label[VARHDRSZ + SC_LABEL_LEN];
} Grid;

struct ScTallierRows
{
	ScTallier  *t;
	MemoryContext row_cx;		/* reset for each row */
	Grid	   *grids;			/* by granularity */
	int64		next;			/* the entry that comes next */
	const ScTallyEntry *last;	/* the one before it; NULL: none yet */
	Datum	   *key_values;
	bool	   *key_isnull;
};

ScTallierRows *
sc_tallier_rows_begin(ScTallier *t, MemoryContext cx)
{
	MemoryContext old = MemoryContextSwitchTo(cx);
	ScTallierRows *rows = palloc0(sizeof(ScTallierRows));
	const ScTallyPlan *plan = t->plan;

	rows->t = t;
	rows->row_cx = AllocSetContextCreate(cx, "streamcount row", ALLOCSET_SMALL_SIZES);
	rows->grids = palloc0(sizeof(Grid) * Max(plan->ngranularities, 1));
	for (int g = 0; g < plan->ngranularities; g++)
	{
		rows->grids[g].granularity = &plan->granularities[g];
		rows->grids[g].name = cstring_to_text(plan->granularities[g].name);
	}
	for (int c = 0; plan->has_windows && c < t->nchains; c++)
		for (int d = 0; d < t->chains[c].nderived; d++)
			rows->grids[t->chains[c].derived[d]].sum = sc_tally_sum_create(t->tally, cx);
	rows->key_values = palloc(sizeof(Datum) * plan->nkeys);
	rows->key_isnull = palloc(sizeof(bool) * plan->nkeys);
	sc_tally_sort(t->tally);
	MemoryContextSwitchTo(old);
	return rows;
}

/* The window that a time is in, with its label. */
static void
find_window(ScTallierRows *rows, Grid *grid, TimestampTz time)
{
	if (sc_window_find(grid->granularity, &rows->t->zone, time, &grid->window))
		SET_VARSIZE(grid->label, VARHDRSZ +
					sc_window_label(grid->granularity, &rows->t->zone, &grid->window,
									grid->label + VARHDRSZ));
}

static Datum
window_key(const Grid *grid, ScPlanKeyKind kind)
{
	switch (kind)
	{
		case SC_KEY_GRANULARITY:
			return PointerGetDatum(grid->name);
		case SC_KEY_INTERVAL:
			return PointerGetDatum(grid->label);
		case SC_KEY_WINDOW_START:
			return TimestampTzGetDatum(grid->window.start);
		default:
			return TimestampTzGetDatum(grid->window.end);
	}
}

static void
put_keys(ScTallierRows *rows, const ScTallyEntry *entry, const Grid *grid,
		 Datum *values, bool *isnull)
{
	const ScTallyPlan *plan = rows->t->plan;
	int			number = 0;

	sc_tally_keys(rows->t->tally, entry, rows->key_values, rows->key_isnull);
	for (int i = 0; i < plan->nkeys; i++)
	{
		if (plan->keys[i].kind == SC_KEY_EXPR)
		{
			values[i] = rows->key_values[number];
			isnull[i] = rows->key_isnull[number++];
		}
		else
		{
			values[i] = window_key(grid, plan->keys[i].kind);
			isnull[i] = false;
		}
	}
}

/* Is the entry, the first behind the last one, outside of the open window? */
static bool
closes(const ScTallierRows *rows, const Grid *grid, const ScTallyEntry *entry)
{
	return entry == NULL ||
		sc_tally_chain(entry) != sc_tally_chain(rows->last) ||
		!sc_tally_same_keys(rows->t->tally, entry, rows->last) ||
		(grid->granularity->unit != SC_UNIT_ALL && sc_tally_window(entry) >= grid->window.end);
}

/* A derived window that no further entry belongs to; false: there is none. */
static bool
give_derived(ScTallierRows *rows, const ScTallyEntry *entry, Datum *values, bool *isnull)
{
	const ScChain *chain;
	int			nkeys = rows->t->plan->nkeys;

	if (rows->last == NULL || !rows->t->plan->has_windows)
		return false;
	chain = &rows->t->chains[sc_tally_chain(rows->last)];
	for (int d = 0; d < chain->nderived; d++)
	{
		Grid	   *grid = &rows->grids[chain->derived[d]];

		if (!grid->open || !closes(rows, grid, entry))
			continue;
		put_keys(rows, rows->last, grid, values, isnull);
		sc_tally_sum_states(grid->sum, values + nkeys, isnull + nkeys);
		sc_tally_sum_clear(grid->sum);
		grid->open = false;
		return true;
	}
	return false;
}

/* Note the entry in the coarser windows that it is in. */
static void
add_up(ScTallierRows *rows, const ScTallyEntry *entry)
{
	const ScChain *chain = &rows->t->chains[sc_tally_chain(entry)];
	TimestampTz window = sc_tally_window(entry);

	for (int d = 0; d < chain->nderived; d++)
	{
		Grid	   *grid = &rows->grids[chain->derived[d]];

		if (window == SC_NO_WINDOW && grid->granularity->unit != SC_UNIT_ALL)
			continue;
		find_window(rows, grid, window);
		sc_tally_sum_add(grid->sum, entry);
		grid->open = true;
	}
}

static bool
give_entry(ScTallierRows *rows, const ScTallyEntry *entry, Datum *values, bool *isnull)
{
	const ScTallyPlan *plan = rows->t->plan;
	Grid	   *grid = NULL;

	if (plan->has_windows)
	{
		add_up(rows, entry);
		grid = &rows->grids[rows->t->chains[sc_tally_chain(entry)].base];
		if (sc_tally_window(entry) == SC_NO_WINDOW)
			return false;
		find_window(rows, grid, sc_tally_window(entry));
	}
	put_keys(rows, entry, grid, values, isnull);
	sc_tally_states(rows->t->tally, entry, values + plan->nkeys, isnull + plan->nkeys);
	return true;
}

bool
sc_tallier_rows_next(ScTallierRows *rows, Datum *values, bool *isnull)
{
	MemoryContext old;
	bool		given = false;

	MemoryContextReset(rows->row_cx);
	old = MemoryContextSwitchTo(rows->row_cx);
	while (!given)
	{
		const ScTallyEntry *entry = rows->next < sc_tally_count(rows->t->tally) ?
			sc_tally_entry(rows->t->tally, rows->next) : NULL;

		given = give_derived(rows, entry, values, isnull);
		if (given || entry == NULL)
			break;
		given = give_entry(rows, entry, values, isnull);
		rows->last = entry;
		rows->next++;
	}
	MemoryContextSwitchTo(old);
	return given;
}
