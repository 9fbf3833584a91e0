"""Buffers with one entry for each target position, which the steps of a recurrence fill.

Size legend: T target positions, B sentences.
"""

from collections.abc import Callable

from torch import Tensor

# Makes an uninitialised tensor of a shape, with dtype and device like a tensor.
Make = Callable[[tuple[int, ...], Tensor], Tensor]

# Rows (positions times sentences) that the weights' gradients take at once: enough for a product
# to be efficient, few enough for the buffers of the backward to stay small.
CHUNK_ROWS = {"cpu": 512}
CHUNK_ROWS_ELSEWHERE = 4096


class Slots(list):
    """One tensor of the same shape for each position: a list of views of a block.

    A step writes in place: nothing is stacked afterwards. The views are made once, since indexing
    a tensor at every step costs more than indexing a list.

    Args:
        block: `(K, *shape)`, in which position t has entry t modulo K. K is T, or the length of a
            chunk, or 1 where only the current step reads the entry.
        num_steps: T.

    Attributes:
        all: the block.
    """

    def __init__(self, block: Tensor, num_steps: int):
        super().__init__(block.unbind(0) * -(-num_steps // len(block)))
        self.all = block

    def cut(self, chunk: range) -> Tensor:
        """The entries of consecutive positions, `(len(chunk), *shape)`."""
        start = chunk.start % len(self.all)
        return self.all[start : start + len(chunk)]

    def rows(self, chunk: range) -> Tensor:
        """`(len(chunk) * B, N)` for entries `(B, N)`: what products over positions work on."""
        return self.cut(chunk).flatten(0, 1)


class Tape:
    """Makes the buffers of one run.

    Args:
        num_steps: T.
        like: `(T, B, C)`, for the device and B.
        keep: False where no backward will follow: positions then share one entry.
        make: makes what lives longer than a step; None for ordinary tensors. With it the run is
            one that is recorded, to be repeated on other data in the same memory.

    Attributes:
        may_ask: the run may look at its data to choose what to do. On an accelerator the answer
            would wait for all work queued before it; in a recording it would be the first data's.
    """

    def __init__(self, num_steps: int, like: Tensor, keep: bool, make: Make | None = None):
        self.num_steps = num_steps
        self.keep = keep
        self.may_ask = make is None and like.device.type == "cpu"
        self._make = make or _ordinary
        rows = CHUNK_ROWS.get(like.device.type, CHUNK_ROWS_ELSEWHERE)
        self._chunk = min(max(rows // like.size(1), 1), num_steps)

    def chunks(self) -> list[range]:
        """Consecutive positions, whose weight gradients are taken together."""
        return [
            range(start, min(start + self._chunk, self.num_steps))
            for start in range(0, self.num_steps, self._chunk)
        ]

    def slots(self, *shape: int, like: Tensor) -> Slots:
        """An entry for each position that the backward, if any, will read; not initialised."""
        return Slots(self.block(*shape, like=like), self.num_steps)

    def chunk_slots(self, *shape: int, like: Tensor) -> Slots:
        """An entry for each position of a chunk; not initialised."""
        return Slots(self.empty((self._chunk, *shape), like), self.num_steps)

    def block(self, *shape: int, like: Tensor) -> Tensor:
        """`(T, *shape)`, or `(1, *shape)` where nothing is kept."""
        return self.empty((self.num_steps if self.keep else 1, *shape), like)

    def empty(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor that lives as long as the run; not initialised."""
        return self._make(shape, like)


def _ordinary(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return like.new_empty(shape)
