"""What fairseq's trainer knows and its tasks are not told: how far the training has come.

A task makes the iterator of an epoch without knowing the number of updates made, on which the
epoch's batches depend here. `tell_tasks` lets the trainer say so.
"""

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairseq.trainer import Trainer


@dataclass(frozen=True)
class TrainingState:
    """The state of a training at the moment an iterator is asked for.

    Attributes:
        updates: made so far.
        max_update: at which training ends; 0 for no limit.
        update_freq: batches of an update on each rank, by epoch.
        sorted_epochs: fairseq's `--curriculum`: epochs at first whose batches are not shuffled.
        grouped_shuffling: fairseq's flag of this name.
    """

    updates: int
    max_update: int
    update_freq: Sequence[int]
    sorted_epochs: int
    grouped_shuffling: bool


def state_of(trainer: Trainer) -> TrainingState:
    """What `trainer` knows."""
    cfg = trainer.cfg
    return TrainingState(
        updates=trainer.get_num_updates(),
        max_update=cfg.optimization.max_update or 0,
        update_freq=tuple(cfg.optimization.update_freq),
        sorted_epochs=cfg.dataset.curriculum,
        grouped_shuffling=cfg.dataset.grouped_shuffling,
    )


def tell_tasks() -> None:
    """Let the trainer set `task.memtx_training`, if there is one, while it asks for an iterator."""
    stock = Trainer.get_train_iterator
    if hasattr(stock, "memtx_tells_tasks"):
        return

    @functools.wraps(stock)
    def get_train_iterator(trainer: Trainer, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(trainer.task, "memtx_training"):
            return stock(trainer, *args, **kwargs)
        trainer.task.memtx_training = state_of(trainer)
        try:
            return stock(trainer, *args, **kwargs)
        finally:
            trainer.task.memtx_training = None

    get_train_iterator.memtx_tells_tasks = True  # type: ignore[attr-defined]
    # As for the repairs: fairseq's own function stays reachable.
    get_train_iterator.__wrapped__ = inspect.unwrap(stock)
    Trainer.get_train_iterator = get_train_iterator
