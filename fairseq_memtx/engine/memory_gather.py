"""The gradient of a memory: a weighted sum over the later positions that read it.

For the keys the weights are the gradients of the scores and the summed rows the queries; for the
values they are the probabilities and the gradients of the contexts. When the backward arrives at a
position, all later ones are done. Those beyond a block of positions are summed for the whole block
in one product, so that their rows are fetched once a block and not once a position.

Size legend: T target positions, B sentences, H heads, BH = B * H, C model dimension, D = C / H,
readers that read the memories, W entries of the widest window.
"""

import torch
from torch import Tensor

# Positions; a row of one block's weights fills half a cache line.
BLOCK = 8


class MemoryGather:
    """Sums for the memories of positions, from the last to the first.

    Args:
        weights: `(T, readers, BH, 1, W)`; column W - d of position t is of the memory at t - d.
        rows: `(T, readers, B, C)`.
        reach: the largest distance at which a memory is read.
    """

    def __init__(self, weights: Tensor, rows: Tensor, reach: int):
        self._weights = weights
        self._num_steps, self._num_readers, self._num_rows = weights.shape[:3]
        # (T, readers, B, C) -> (BH, T * readers, D)
        self._rows = rows.view(self._num_steps * self._num_readers, self._num_rows, -1)
        self._rows = self._rows.transpose(0, 1)
        self._reach = reach
        self._blockwise = reach >= self._num_steps - 1
        self._beyond: tuple[int, Tensor | None] = -1, None

    def sum(self, t: int) -> Tensor:
        """`(BH, 1, D)`, for a position t that is not the last; positions must come in descent."""
        if not self._blockwise:
            return self._sum(
                range(t, t + 1), range(t + 1, min(t + self._reach + 1, self._num_steps))
            )
        number = t // BLOCK
        block = range(number * BLOCK, min(number * BLOCK + BLOCK, self._num_steps))
        if self._beyond[0] != number:
            later = range(block.stop, self._num_steps)
            self._beyond = number, self._sum(block, later) if later else None
        beyond = self._beyond[1]
        known = None if beyond is None else beyond[:, t - block.start : t - block.start + 1]
        near = range(t + 1, block.stop)
        if not near:
            assert known is not None
            return known
        return self._sum(range(t, t + 1), near, known)

    def sum_before(self, count: int) -> Tensor:
        """`(BH, count, D)`, for as many memories before position 0, in order."""
        reached = min(count, self._reach)
        if self._reach >= reached + self._num_steps - 1:
            sums = self._sum(range(-reached, 0), range(self._num_steps))
        else:  # the last position that reads a memory is another one for each
            sums = torch.cat([self._sum_one_before(d) for d in range(reached, 0, -1)], dim=1)
        return torch.nn.functional.pad(sums, (0, 0, count - reached, 0))

    def _sum_one_before(self, distance: int) -> Tensor:
        last = min(self._reach - distance + 1, self._num_steps)
        return self._sum(range(-distance, 1 - distance), range(last))

    def _sum(self, memories: range, later: range, known: Tensor | None = None) -> Tensor:
        """Over the positions `later`, for consecutive memories `(BH, len(memories), D)`."""
        weights = self._diagonals(memories, later)
        rows = self._rows[:, later.start * self._num_readers : later.stop * self._num_readers]
        return torch.bmm(weights, rows) if known is None else torch.baddbmm(known, weights, rows)

    def _diagonals(self, memories: range, later: range) -> Tensor:
        """The weights of these memories, `(BH, len(memories), len(later) * readers)`.

        From one later position to the next, a memory's column moves by one: a diagonal.
        """
        x = self._weights
        step, reader, row, _, _ = x.stride()
        size = (self._num_rows, len(memories), len(later), self._num_readers)
        first = later.start * step + x.size(-1) - (later.start - memories.start)
        strides = (row, 1, step - 1, reader)
        diagonals = x.as_strided(size, strides, x.storage_offset() + first).flatten(2)
        # With strides like these, torch would multiply the matrices one by one.
        return diagonals.contiguous()
