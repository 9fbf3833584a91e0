"""Which memories each segment of a target sees: the arithmetic behind the parallel computation.

Within one pass a layer's memories are functions of the layer's own inputs alone, so all segments
can be computed at once, each with its windows over two streams:

- recent: the carried states at the positions -M .. -1, then the target's at 0 .. T - 1. Segment k
  sees those at k n_s - n_m .. k n_s - 1.
- compressed: the carried ones, then those of block 0, 1, ... Block k, compressed after segment k,
  is made of the states at k n_s - n_m .. (k + 1) n_s - n_m - 1; segment k sees the last n_cm made
  of the blocks before block k.

That is Algorithm 1 of Rae et al. 2019 (arXiv 1911.05507) with absent states in place of its zeros.

Size legend: T positions, n_s segment, n_m memory, n_cm compressed memory, M and Z carried states
and compressed states, segs segments, W keys of a segment.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .segment_memory import SegmentLengths


@dataclass(frozen=True)
class SegmentPlan:
    """The windows of a target of T positions.

    Attributes:
        target: T.
        carried, carried_compressed: M and Z.
        lengths: what the options ask for.
        keep: the memory after the target is wanted.
        unrolled: gradients go back through memories.
    """

    target: int
    carried: int
    carried_compressed: int
    lengths: SegmentLengths
    keep: bool
    unrolled: bool = False

    @property
    def count(self) -> int:
        """How many segments."""
        return max(1, -(-self.target // self.lengths.segment))

    @property
    def size(self) -> int:
        """Positions of a segment in this pass: n_s, or T where the target has only one segment."""
        return self.lengths.segment if self.count > 1 else self.target

    @property
    def recent(self) -> int:
        """Recent states in a window: n_m, or all there can be."""
        return min(self.lengths.memory, self.carried + (self.count - 1) * self.lengths.segment)

    @property
    def compressed(self) -> int:
        """Compressed states in a window: n_cm, or all there can be."""
        made = max(0, self.count - 1 - self.first_block) * self.lengths.per_segment
        return min(self.lengths.compressed, self.carried_compressed + made)

    @property
    def keys(self) -> int:
        """Keys of a segment, W."""
        return self.compressed + self.recent + self.size

    @property
    def first_block(self) -> int:
        """The first block that holds any state."""
        return max(0, (self.lengths.memory - self.carried) // self.lengths.segment)

    @property
    def num_blocks(self) -> int:
        """Blocks to compress: those that a later segment sees and, for `keep`, the last one."""
        last = self.count if self.keep else self.count - 1
        return max(0, last - self.first_block) if self.lengths.compressed > 0 else 0

    @property
    def first_block_end(self) -> int:
        """Position after the states of the first block."""
        return (self.first_block + 1) * self.lengths.segment - self.lengths.memory

    def hidden(self, device: torch.device) -> Tensor:
        """`(size, W)`, True where a query must not look: after itself, or beyond `same_length`."""
        own = torch.arange(self.keys - self.size, self.keys, device=device)[:, None]
        distance = own - torch.arange(self.keys, device=device)
        hidden = distance < 0
        furthest = self.lengths.furthest
        return hidden if furthest is None else hidden | (distance > furthest)
