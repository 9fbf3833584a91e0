"""Buffers with one entry for each target position, which the steps of a recurrence fill.

Size legend: T target positions, B sentences.
"""

from torch import Tensor


class Slots:
    """One tensor of the same shape for each position, views of a block.

    A step writes in place: nothing is stacked afterwards, and memory grows with T.

    Args:
        block: `(T, *shape)`, or `(1, *shape)` for one entry that all positions share, where only
            the current step reads it.
        num_steps: T.

    Attributes:
        all: the block.
    """

    def __init__(self, block: Tensor, num_steps: int):
        self.all = block
        # Made once: indexing a tensor costs more than indexing a list.
        views = list(block.unbind(0))
        self._steps = views if len(views) == num_steps else views * num_steps

    def __getitem__(self, step: int) -> Tensor:
        return self._steps[step]

    def rows(self) -> Tensor:
        """`(T * B, N)` for entries `(B, N)`: what the products over all positions work on."""
        return self.all.flatten(0, 1)


class Tape:
    """Makes the buffers of one run.

    Args:
        num_steps: T.
        like: for the device.
        keep: False where no backward will follow: positions then share one entry.
    """

    def __init__(self, num_steps: int, like: Tensor, keep: bool):
        self.num_steps = num_steps
        self.keep = keep
        self._like = like

    def slots(self, *shape: int, like: Tensor | None = None, zero: bool = False) -> Slots:
        """Slots of the given entries, in the dtype of `like` (that of the run by default).

        They start from zeros if `zero`, else from whatever lies there.
        """
        return Slots(self.block(*shape, like=like, zero=zero), self.num_steps)

    def block(self, *shape: int, like: Tensor | None = None, zero: bool = False) -> Tensor:
        """`(T, *shape)`, or `(1, *shape)` where nothing is kept."""
        like = self._like if like is None else like
        make = like.new_zeros if zero else like.new_empty
        return make((self.num_steps if self.keep else 1, *shape))
