/*-------------------------------------------------------------------------
 *
 * task.c
 *		A rollup as its worker serves it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "task.h"

void
sc_task_forget(ScTask *task)
{
	task->shown = task->marked = NULL;
	task->refused = NULL;
	task->left_out = NIL;
	task->careful_tries = 0;
}

/* Partitions are few and sorted; NULL for one that the task does not have. */
ScPart *
sc_task_part(const ScTask *task, int32 partition)
{
	int			low = 0,
				high = task->nparts - 1;

	/* Almost always partitions are numbered without holes. */
	if (partition < task->nparts && task->parts[partition].partition == partition)
		return &task->parts[partition];
	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (task->parts[middle].partition == partition)
			return &task->parts[middle];
		if (task->parts[middle].partition < partition)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}
