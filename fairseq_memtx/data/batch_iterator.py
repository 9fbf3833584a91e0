"""fairseq's iterator over epochs of batches, with the epochs of a curriculum while it runs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from fairseq.data.iterators import EpochBatchIterator, ShardedIterator

from .curriculum import Batch, Curriculum


class KnowsUpdates(EpochBatchIterator):
    """An iterator whose batches of an epoch depend on the updates made before it.

    Who inherits it calls `count_updates` before anything is read.

    Attributes:
        first_update: updates made before the epoch under way.
        update_freq: fairseq's `--update-freq`: batches of an update on each rank, by epoch.
    """

    first_update: int
    update_freq: Sequence[int]
    _updates: Callable[[], int]

    def count_updates(self, updates: Callable[[], int], update_freq: Sequence[int]) -> None:
        """Be told how many updates were made so far, whenever that is asked."""
        self._updates, self.update_freq = updates, update_freq
        self.first_update = updates()

    def next_epoch_itr(self, *args: Any, **kwargs: Any) -> Any:
        """fairseq's hook: begin an epoch, or go on with the one that was resumed."""
        if self._next_epoch_itr is None:
            self.first_update = self._updates()
        return super().next_epoch_itr(*args, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """fairseq's state, and what the epoch under way depends on."""
        return {**super().state_dict(), "memtx_first_update": self.first_update}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the middle of an epoch; its batches are the same as when it began."""
        epoch, consumed = state_dict["epoch"], state_dict.get("iterations_in_epoch", 0)
        made = math.ceil(consumed / freq_of_epoch(self.update_freq, epoch))
        # Of a checkpoint without a curriculum: no update was skipped, or the plan is a bit early.
        self.first_update = state_dict.get("memtx_first_update", self._updates() - made)
        super().load_state_dict(state_dict)


class CurriculumBatchIterator(KnowsUpdates):
    """Feeds the batches of `curriculum` in epochs that begin before its schedule ends.

    Later epochs are fairseq's own, as if there had been no curriculum.

    Args:
        stock: fairseq's iterator, whose settings and batches are taken over.
        curriculum: made for the same data.
        updates: tells the number of updates made so far.
        update_freq: fairseq's `--update-freq`: batches of an update on each rank, by epoch.
    """

    def __init__(
        self,
        stock: EpochBatchIterator,
        curriculum: Curriculum,
        updates: Callable[[], int],
        update_freq: Sequence[int],
    ):
        super().__init__(
            dataset=stock.dataset,
            collate_fn=stock.collate_fn,
            batch_sampler=stock.batch_sampler,
            seed=stock.seed,
            num_shards=stock.num_shards,
            shard_id=stock.shard_id,
            num_workers=stock.num_workers,
            epoch=stock.epoch,
            buffer_size=stock.buffer_size,
            timeout=stock.timeout,
            disable_shuffling=stock.disable_shuffling,
            skip_remainder_batch=stock.skip_remainder_batch,
            grouped_shuffling=stock.grouped_shuffling,
            reuse_dataloader=stock.reuse_dataloader,
            persistent_workers=stock.persistent_workers,
        )
        self.curriculum = curriculum
        self.count_updates(updates, update_freq)

    def ordered_batches(self, epoch: int, fix_batches_to_gpus: bool, shuffle: bool) -> list[Batch]:
        """fairseq's hook: this rank's batches of an epoch, in their order."""
        if self.first_update >= self.curriculum.schedule.updates:
            return super().ordered_batches(epoch, fix_batches_to_gpus, shuffle)
        per_update = freq_of_epoch(self.update_freq, epoch) * self.num_shards
        plan = self.curriculum.epoch_batches(epoch, self.first_update, per_update)
        own = list(ShardedIterator(plan, self.num_shards, self.shard_id, fill_value=[]))
        if self._supports_prefetch:
            self.dataset.prefetch([pair for batch in own for pair in batch])
        return own


def freq_of_epoch(update_freq: Sequence[int], epoch: int) -> int:
    """The entry of fairseq's `--update-freq` for an epoch (from 1); the last one stays."""
    return update_freq[min(epoch, len(update_freq)) - 1]
