"""What this package changes in fairseq 0.12 for every model, and how to leave fairseq as it is.

A repair is a module of this folder: its docstring says what is broken and when the repair may go,
its `apply` makes it, and its test has a case named `test_defect_...` that fails once the libraries
no longer need it. What is no repair, but more than fairseq offers (whole checkpoints, stopping,
resuming), is in `fairseq_memtx.training`. Both are made when the package is imported as a user-dir
or as a plug-in, before fairseq loads anything.

For models that are not ours all of it can be left out:

- `MEMTX_LEAVE_FAIRSEQ_ALONE=1` in the environment: nothing is changed to begin with.
- `repairs.undo()` takes everything back in a running process; call it before a task is built.

Our own tasks and models then work as fairseq does, so that a training is no longer saved whole, nor
resumed from the newest checkpoint, and torch refuses checkpoints of fairseq's.
"""

import os
from types import ModuleType

from ..ground.errors import UserError
from . import (
    aligned_hypotheses,
    best_metric,
    combined_sets,
    data_shards,
    diverse_beams,
    evaluated_settings,
    impossible_flags,
    interactive_lines,
    last_batch,
    length_buckets,
    long_sentences,
    missing_fairseq,
    numpy_long,
    precision_flags,
    repeated_ngrams,
    replaced_unknowns,
    safe_loading,
    unreadable_data,
    unusable_checkpoints,
    validation_task,
    wrapping,
)

#: Set to 1 to let nothing be changed.
LEAVE_ALONE = "MEMTX_LEAVE_FAIRSEQ_ALONE"

REPAIRS: tuple[ModuleType, ...] = (
    safe_loading,
    evaluated_settings,
    last_batch,
    numpy_long,
    precision_flags,
    repeated_ngrams,
    unusable_checkpoints,
    unreadable_data,
    data_shards,
    combined_sets,
    interactive_lines,
    length_buckets,
    long_sentences,
    best_metric,
    diverse_beams,
    aligned_hypotheses,
    replaced_unknowns,
    validation_task,
    impossible_flags,
)


def apply() -> None:
    """Make all repairs and additions, unless told to leave fairseq alone; twice is once.

    Raises:
        ImportError: where fairseq cannot be imported.
        UserError: where the environment's variable has another value than 0 and 1.
    """
    missing_fairseq.apply()
    if is_left_alone():
        return
    from ..training import ADDITIONS  # only now: they import fairseq

    for change in (*REPAIRS, *ADDITIONS):
        change.apply()


def undo() -> None:
    """Take back all changes: fairseq is then as it was installed."""
    wrapping.undo_all()


def is_left_alone() -> bool:
    """Whether the environment asks for an unchanged fairseq.

    Raises:
        UserError: where it has another value than 0 and 1.
    """
    value = os.environ.get(LEAVE_ALONE, "")
    if value not in ("", "0", "1"):
        raise UserError(f"{LEAVE_ALONE} is `{value}`: set it to 1, or to 0 or nothing")
    return value == "1"
