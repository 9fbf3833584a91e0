"""What fairseq's trainer knows and its tasks are not told: how far the training has come.

A task makes the iterator of an epoch without knowing the number of updates made, on which the
epoch's batches depend here, and it does not learn when a checkpoint is saved. Our tasks call
`tell_tasks` when they are made, which lets the trainer say so to those that ask. A training on a
CPU keeps its freed memory from then on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from ..data.batch_iterator import freq_of_epoch
from ..repairs.wrapping import wrap
from .host_memory import keep_freed_memory


@dataclass(frozen=True)
class TrainingState:
    """The state of a training at the moment an iterator is asked for.

    Attributes:
        updates: made so far.
        max_update, max_epoch: at which training ends; 0 for no limit.
        update_freq: batches of an update on each rank, by epoch.
        sorted_epochs: fairseq's `--curriculum`: epochs at first whose batches are not shuffled.
        grouped_shuffling: fairseq's flag of this name.
    """

    updates: int
    max_update: int
    update_freq: Sequence[int]
    sorted_epochs: int
    grouped_shuffling: bool
    max_epoch: int = 0

    def last_update(self, epoch_batches: int) -> float:
        """At which training ends, infinite for no limit; `epoch_batches` are those of each rank."""
        limit = self.max_update or math.inf
        if self.max_epoch == 0:
            return limit
        freqs = (freq_of_epoch(self.update_freq, epoch + 1) for epoch in range(self.max_epoch))
        return min(limit, sum(math.ceil(epoch_batches / freq) for freq in freqs))


def state_of(trainer: Trainer) -> TrainingState:
    """What `trainer` knows."""
    cfg = trainer.cfg
    return TrainingState(
        updates=trainer.get_num_updates(),
        max_update=cfg.optimization.max_update or 0,
        max_epoch=cfg.optimization.max_epoch or 0,
        update_freq=tuple(cfg.optimization.update_freq),
        sorted_epochs=cfg.dataset.curriculum,
        grouped_shuffling=cfg.dataset.grouped_shuffling,
    )


def gathered(trainer: Trainer, state: Any) -> list[Any]:
    """The states of all ranks, by rank; every rank must call this."""
    if trainer.data_parallel_world_size == 1:
        return [state]
    states = [None] * trainer.data_parallel_world_size
    torch.distributed.all_gather_object(states, state, trainer.data_parallel_process_group)
    return states


def tell_tasks() -> None:
    """Let the trainer tell its task what the task asks for.

    `task.memtx_training`, if there is one, is set while an iterator is asked for;
    `task.memtx_before_saving` is called on all ranks before a checkpoint is saved.
    """
    wrap(Trainer, "get_train_iterator", _tell_of_updates)
    wrap(checkpoint_utils, "save_checkpoint", _tell_of_saving)


def _tell_of_updates(stock: Callable[..., Any], trainer: Trainer, *args: Any, **kwargs: Any) -> Any:
    if not hasattr(trainer.task, "memtx_training"):
        return stock(trainer, *args, **kwargs)
    if not trainer.cuda:
        keep_freed_memory()
    trainer.task.memtx_training = state_of(trainer)
    try:
        return stock(trainer, *args, **kwargs)
    finally:
        trainer.task.memtx_training = None


def _tell_of_saving(
    stock: Callable[..., Any], cfg: Any, trainer: Trainer, iterator: Any, loss: Any
) -> Any:
    before = getattr(trainer.task, "memtx_before_saving", None)
    if before is not None and not cfg.no_save:
        before(trainer, iterator)
    return stock(cfg, trainer, iterator, loss)
