"""fairseq's iterator where a memory is carried from batch to batch: a checkpoint holds it too."""

import logging
from collections.abc import Callable
from typing import Any

from fairseq.data.iterators import EpochBatchIterator

logger = logging.getLogger(__name__)

State = dict[str, Any]


class CarryingIterator(EpochBatchIterator):
    """An iterator whose position within an epoch has memories, one state for each rank.

    Args:
        restore: is given the memory's state at the position where a training goes on.
        shape: what the batches depend on; a memory is of use only where it is the same.
        words: what `shape` and the ranks are, for the message.
        ranks: how many there are, and which one this is.
        others: arguments of fairseq's iterator.

    Attributes:
        memories: the states of all ranks at the position, to be set before saving; None for none.
    """

    def __init__(
        self,
        restore: Callable[[State], None],
        shape: State,
        words: str,
        ranks: tuple[int, int],
        **others: Any,
    ):
        super().__init__(**others)
        self.restore, self.shape, self.words = restore, shape, words
        self.ranks, self.rank = ranks
        self.memories: list[State | None] | None = None

    def state_dict(self) -> State:
        """fairseq's state, the memories of all ranks, and the shape of what was read."""
        own = {"memories": self.memories, **self.shape}
        return {**super().state_dict(), **({"memtx": own} if self.memories else {})}

    def load_state_dict(self, state_dict: State) -> None:
        """Go on in the middle of an epoch, with the memory of then where the batches are the
        same.
        """
        super().load_state_dict(state_dict)
        saved = state_dict.get("memtx")
        if saved is None:
            return
        before = *(saved.get(name) for name in self.shape), len(saved["memories"])
        now = *self.shape.values(), self.ranks
        if before != now:
            logger.warning(
                "goes on with empty memories: %s were %s, are %s", self.words, before, now
            )
        elif saved["memories"][self.rank] is not None:
            self.restore(saved["memories"][self.rank])
