"""The bounded past of a layer: recent states as they were, older ones compressed.

Transformer-XL (Dai et al. 2019, arXiv 1901.02860, section 3.2) keeps the last n_m inputs of every
layer; the Compressive Transformer (Rae et al. 2019, arXiv 1911.05507, Algorithm 1) compresses what
falls out of them and keeps the last n_cm results.

A memory is an explicit value, passed in and returned, never kept on a module, so it can outlive a
sentence or a block. Deviation from both papers: an empty memory is masked, not made of zeros.
States are stored as they enter the layer, before its norm.

Size legend: B sentences, M recent states, Z compressed states, C model dimension.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .row_entries import standing_right


@dataclass(frozen=True)
class SegmentLengths:
    """How a target is cut and how much of its past is kept, in positions.

    Attributes:
        segment: n_s, positions processed together; at least 1.
        memory: n_m, recent states kept.
        compressed: n_cm, compressed states kept.
        rate: c, states that become one; divides `segment`.
        same_length: every query attends to itself and the `memory + compressed` entries before it,
            so that the first query of a segment sees as many as the last.
    """

    segment: int
    memory: int
    compressed: int = 0
    rate: int = 1
    same_length: bool = False

    @property
    def per_segment(self) -> int:
        """Compressed states made of one segment."""
        return self.segment // self.rate

    @property
    def furthest(self) -> int | None:
        """The largest distance in view, None for no other limit than the memories' lengths."""
        return self.memory + self.compressed if self.same_length else None


class LayerMemory(NamedTuple):
    """What one layer remembers, oldest first; entries that exist stand to the right.

    Attributes:
        recent: `(B, M, C)`.
        compressed: `(B, Z, C)`.
        recent_hidden, compressed_hidden: `(B, M)` and `(B, Z)`, True where an entry does not exist,
            because a sentence is shorter than others; None where all exist.
        usage: `(B, M)`, attention that each recent state has received as a memory; None where the
            compression does not ask for it.
    """

    recent: Tensor
    compressed: Tensor
    recent_hidden: Tensor | None = None
    compressed_hidden: Tensor | None = None
    usage: Tensor | None = None

    @classmethod
    def empty(cls, like: Tensor) -> "LayerMemory":
        """No entries; `like` `(B, ..., C)` gives the sizes, dtype and device."""
        nothing = like.new_zeros(like.size(0), 0, like.size(-1))
        return cls(nothing, nothing)

    def split(self) -> list["LayerMemory"]:
        """Each row by itself, without entries that do not exist; copies."""
        places = (self.recent_hidden, self.compressed_hidden)
        first, older = (
            [0] * len(self.recent) if hidden is None else hidden.sum(dim=1).tolist()
            for hidden in places
        )
        return [
            LayerMemory(
                self.recent[row : row + 1, first[row] :].clone(),
                self.compressed[row : row + 1, older[row] :].clone(),
                usage=None
                if self.usage is None
                else self.usage[row : row + 1, first[row] :].clone(),
            )
            for row in range(len(self.recent))
        ]

    @classmethod
    def join(cls, rows: Sequence["LayerMemory"]) -> "LayerMemory":
        """Rows of one each, all of whose entries exist, as rows of one memory."""
        recent, recent_hidden = standing_right([row.recent[0] for row in rows])
        compressed, compressed_hidden = standing_right([row.compressed[0] for row in rows])
        usage = None
        if any(row.usage is not None for row in rows):
            each = [r.recent.new_zeros(r.recent.size(1)) if r.usage is None else r.usage[0]
                    for r in rows]  # fmt: skip
            usage, _ = standing_right(each)
        return cls(recent, compressed, recent_hidden, compressed_hidden, usage)

    def map(self, change: Callable[[Tensor], Tensor]) -> "LayerMemory":
        """The same memory with `change` applied to each tensor."""
        return LayerMemory(*(None if x is None else change(x) for x in self))  # type: ignore[arg-type]


class SegmentMemory:
    """The memories of all layers of a decoder, after some text.

    Attributes:
        layers: one `LayerMemory` a layer.
    """

    def __init__(self, layers: list[LayerMemory]):
        self.layers = layers

    @property
    def num_rows(self) -> int:
        """How many rows, B."""
        return self.layers[0].recent.size(0)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.layers[0].recent.device

    def detach(self) -> "SegmentMemory":
        """The same memory without its gradient history: gradients end here."""
        return self._map(torch.Tensor.detach)

    def to(self, device: torch.device | str) -> "SegmentMemory":
        """The same memory on `device`."""
        return self._map(lambda x: x.to(device))

    def reorder(self, new_order: Tensor) -> "SegmentMemory":
        """Row i of the result is row `new_order[i]` (int64, any length, repeats allowed)."""
        return self._map(lambda x: x.index_select(0, new_order))

    def split(self) -> list["SegmentMemory"]:
        """Each row by itself, without entries that do not exist; copies."""
        by_layer = [layer.split() for layer in self.layers]
        return [SegmentMemory(list(layers)) for layers in zip(*by_layer, strict=True)]

    @classmethod
    def join(cls, rows: Sequence["SegmentMemory | None"]) -> "SegmentMemory":
        """Rows of one each as rows of one memory; None is an empty one, and not all are."""
        some = next(row for row in rows if row is not None)
        empty = [LayerMemory.empty(layer.recent) for layer in some.layers]
        each = [empty if row is None else row.layers for row in rows]
        return cls([LayerMemory.join(layers) for layers in zip(*each, strict=True)])

    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(
            x.numel() * x.element_size() for layer in self.layers for x in layer if x is not None
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> "SegmentMemory":
        return SegmentMemory([layer.map(change) for layer in self.layers])


def join_hidden(
    first: Tensor | None, second: Tensor | None, like: tuple[Tensor, Tensor]
) -> Tensor | None:
    """Masks of two joined runs of entries `like` `(B, M, C)`; None if all entries exist."""
    if first is None and second is None:
        return None
    masks = [
        x.new_zeros(x.shape[:2], dtype=torch.bool) if hidden is None else hidden
        for x, hidden in zip(like, (first, second), strict=True)
    ]
    return torch.cat(masks, dim=1)


def windows(stream: Tensor, end: int, size: int, step: int, count: int) -> Tensor:
    """Overlapping windows of a stream of entries, beyond whose ends stand zeros.

    Args:
        stream: `(..., M, D)`.
        end: where window 0 ends: it covers the entries end - size .. end - 1.
        size: entries in a window.
        step: how much further each window ends.
        count: number of windows.

    Returns:
        `(..., count, size, D)`.
    """
    first, last = end - size, end + (count - 1) * step
    left, right = max(0, -first), max(0, last - stream.size(-2))
    if left > 0 or right > 0:
        stream = torch.nn.functional.pad(stream, (0, 0, left, right))
    stream = stream[..., first + left : last + left, :]
    # (..., count, D, size) -> (..., count, size, D)
    return stream.unfold(-2, size, step).transpose(-1, -2)


def windows_of_mask(hidden: Tensor, end: int, size: int, step: int, count: int) -> Tensor:
    """`windows` of a mask `(B, M)`: `(B, count, size)`, True beyond the ends."""
    return ~windows(~hidden.unsqueeze(-1), end, size, step, count).squeeze(-1)
