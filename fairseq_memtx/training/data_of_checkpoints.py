"""Keeps the hashes of a training's data in its checkpoints, and compares them when one is loaded.

Stock fairseq compares the number of words alone: with two lines of a dictionary swapped, or the
dictionary of other data, it trains on and translates without a word of warning. May go once fairseq
keeps and compares such hashes. What is kept and compared is in `checkpoints.fingerprints`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checkpoints import fingerprints
from ..ground.errors import UserError
from ..ground.files import sha256_of
from ..repairs.wrapping import wrap


def apply() -> None:
    """Wrap what collects a training's state, what loads it, and what makes the subwords."""
    from fairseq.tasks.fairseq_task import FairseqTask
    from fairseq.trainer import Trainer

    wrap(Trainer, "state_dict", _with_fingerprints)
    wrap(Trainer, "load_checkpoint", _compare)
    wrap(FairseqTask, "build_bpe", _compare_subwords)


def _with_fingerprints(stock: Callable[..., Any], trainer: Any) -> Any:
    state = stock(trainer)
    if not hasattr(trainer, "memtx_data"):  # hashed once
        trainer.memtx_data = fingerprints.of_task(trainer.task)
    state["extra_state"][fingerprints.KEY] = trainer.memtx_data
    return state


def _compare(stock: Callable[..., Any], trainer: Any, filename: str, *args: Any, **kw: Any) -> Any:
    extra_state = stock(trainer, filename, *args, **kw)
    if extra_state is not None:
        present = fingerprints.of_task(trainer.task)
        fingerprints.compare({"extra_state": extra_state}, present, filename)
    return extra_state


def remember(task: Any, state: dict[str, Any], path: str) -> None:
    """Compare a loaded model with its task's data, and let the task know of its subwords.

    Raises:
        UserError: where it was trained with other data.
    """
    fingerprints.compare(state, fingerprints.of_task(task), path)
    if "subwords" in fingerprints.held(state):
        task.memtx_subwords = (fingerprints.held(state)["subwords"], path)


def _compare_subwords(stock: Callable[..., Any], task: Any, args: Any) -> Any:
    trained, path = getattr(task, "memtx_subwords", (None, None))
    model = getattr(args, "sentencepiece_model", None)
    made = stock(task, args)
    if trained and model and sha256_of(_local(model)) != trained:
        raise UserError(
            f"--sentencepiece-model `{model}` is not that which `{path}` was trained with"
        )
    return made


def _local(model: str) -> Any:
    from fairseq import file_utils

    return Path(file_utils.cached_path(model))
