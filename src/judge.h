/*-------------------------------------------------------------------------
 *
 * judge.h
 *		Which messages of a batch a rollup takes, and which it leaves out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SC_JUDGE_H
#define SC_JUDGE_H

#include "streamcount.h"

#include "batch.h"
#include "task.h"

/*
 * Fills shown[], the parts' new_next, rejected, new_rejected_in_row and
 * halt_reason, and left_out.  Starts anew on each call.
 */
extern void sc_judge(ScTask *task, const ScStream *stream, const ScBatch *batch);

/* After the merge: what was shown is either counted or filtered. */
extern void sc_judge_marks(ScTask *task, const ScBatch *batch);

#endif							/* SC_JUDGE_H */
