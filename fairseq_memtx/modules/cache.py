"""Decoding state: tensors that grow by one position a step and follow the beams.

Size legend: N rows (sentences times beams), t filled positions.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from .carried_memory import CarriedMemory
from .cross_attention import CrossMemory
from .memory import FeedbackMemory, MemoryView


class GrowingTensor:
    """`(t, N, *shape)` with room to grow: a step writes one position and copies nothing.

    Time is the outermost axis: the filled part is one block, which `reorder` gathers into a second
    buffer without touching the empty part. Not differentiable: what is put in is detached.

    Args:
        like: `(N, *shape)`, for the sizes, dtype and device of a position.
        capacity: positions to make room for at first; doubled whenever it runs out.
    """

    def __init__(self, like: Tensor, capacity: int = 32):
        self._buffer = like.new_empty((capacity, *like.shape))
        self._spare: Tensor | None = None
        self.length = 0

    def filled(self) -> Tensor:
        """`(t, N, *shape)`, a view: read it before the next `add_position` or `reorder`."""
        return self._buffer[: self.length]

    def add_position(self, position: Tensor | float) -> None:
        """Add one position `(N, *shape)`."""
        if self.length == self._buffer.size(0):
            grown = self._buffer.new_empty((2 * self.length, *self._buffer.shape[1:]))
            grown[: self.length] = self._buffer
            self._buffer, self._spare = grown, None
        if isinstance(position, Tensor):
            position = position.detach()
        self._buffer[self.length] = position
        self.length += 1

    def replace(self, content: Tensor) -> None:
        """Hold `content` `(t, N, *shape)`, no view of this one, and nothing else."""
        self.length = content.size(0)
        if self.length > self._buffer.size(0):
            self._buffer, self._spare = torch.empty_like(content), None
        self._buffer[: self.length] = content.detach()

    def reorder(self, new_order: Tensor) -> None:
        """Row i becomes the old row `new_order[i]`; rows may repeat, and be fewer or more."""
        shape = (self._buffer.size(0), new_order.numel(), *self._buffer.shape[2:])
        if self._spare is None or self._spare.shape != shape:
            self._spare = self._buffer.new_empty(shape)
        torch.index_select(self.filled(), 1, new_order, out=self._spare[: self.length])
        self._buffer, self._spare = self._spare, self._buffer

    def size_bytes(self) -> int:
        """Bytes of the filled part."""
        return self.filled().numel() * self._buffer.element_size()


class MemoryCache:
    """The past while decoding, see `memory.PastMemories` for the shapes. Not differentiable.

    Args:
        memory: the parameters.
        like: `(N, C)`, for the number of rows, dtype and device.
        past: memories of the text before, or None.
    """

    def __init__(self, memory: FeedbackMemory, like: Tensor, past: CarriedMemory | None = None):
        self.memory = memory
        head_dim = like.size(-1) // memory.num_heads
        # (N, G, H, D): rows outermost, so that one gather reorders the keys of all projections
        no_entry = like.new_empty((like.size(0), len(memory.k_proj), memory.num_heads, head_dim))
        self._keys = GrowingTensor(no_entry)
        self._values = GrowingTensor(no_entry)
        self._padding = GrowingTensor(no_entry.new_empty(like.size(0), dtype=torch.bool))
        self._has_padding = False
        if past is not None:
            # (G, N, H, P, D) -> (P, N, G, H, D)
            self._keys.replace(past.keys.permute(3, 1, 0, 2, 4).type_as(like))
            self._values.replace(past.values.permute(3, 1, 0, 2, 4).type_as(like))
            self._padding.replace(past.hidden_mask().t())
            self._has_padding = past.hidden is not None

    def __len__(self) -> int:
        return self._keys.length

    def views(self) -> Sequence[MemoryView]:
        # (t, N, G, H, D) -> (G, N, H, t, D)
        keys = self._keys.filled().permute(2, 1, 3, 0, 4)
        values = self._values.filled().permute(2, 1, 3, 0, 4)
        padding_mask = self._padding.filled().t() if self._has_padding else None
        return self.memory.views(keys, values, padding_mask)

    def add_memory(self, keys: Tensor, values: Tensor, padding: Tensor | None) -> None:
        self._keys.add_position(keys.detach().transpose(0, 1))
        self._values.add_position(values.detach().transpose(0, 1))
        self._has_padding |= padding is not None
        self._padding.add_position(False if padding is None else padding)

    def reorder(self, new_order: Tensor) -> None:
        """Row i becomes the old row `new_order[i]`."""
        for buffer in (self._keys, self._values, self._padding):
            buffer.reorder(new_order)

    def size_bytes(self) -> int:
        """Bytes of the keys, values and padding flags held."""
        return sum(x.size_bytes() for x in (self._keys, self._values, self._padding))


class DecodingMemories(Protocol):
    """A decoder's own memories while decoding."""

    def reorder(self, new_order: Tensor) -> None:
        """Row i becomes the old row `new_order[i]` (int64, any length)."""

    def size_bytes(self) -> int:
        """Bytes held."""


class DecodingState:
    """All that a memory decoder keeps between two steps of a search.

    Attributes:
        past: the memories so far.
        sources: one `CrossMemory` for each layer with cross-attention, rows = sentences where the
            beams of a sentence share them (`beam_size` > 1), else rows = N.
        beam_size: rows of the search for each row of `sources`.
    """

    def __init__(self, past: DecodingMemories, sources: list[CrossMemory], beam_size: int = 1):
        self.past = past
        self.sources = sources
        self.beam_size = beam_size
        self._in_place: Tensor | None = None

    def reorder(self, new_order: Tensor) -> None:
        """Follow a beam search: row i becomes the old row `new_order[i]` (int64, any length)."""
        self.past.reorder(new_order)
        if self.sources and not self._keeps_sentences(new_order):
            self._reorder_sources(new_order)

    def _keeps_sentences(self, new_order: Tensor) -> bool:
        """Whether every row stays with its sentence, as in most steps of a search."""
        num_rows = self.sources[0].keys.size(0) * self.beam_size
        if new_order.numel() != num_rows:
            return False
        if self._in_place is None or self._in_place.numel() != num_rows:
            rows = torch.arange(num_rows, device=new_order.device)
            self._in_place = torch.div(rows, self.beam_size, rounding_mode="floor")
        sentences = torch.div(new_order, self.beam_size, rounding_mode="floor")
        return torch.equal(sentences, self._in_place)

    def _reorder_sources(self, new_order: Tensor) -> None:
        self._in_place = None
        rows = self._sentences(new_order)
        if rows is None:
            rows, self.beam_size = new_order // self.beam_size, 1
        self.sources = [source.select(rows) for source in self.sources]

    def _sentences(self, new_order: Tensor) -> Tensor | None:
        """The sentence of each group of `beam_size` rows; None if a group would mix sentences."""
        if new_order.numel() % self.beam_size != 0:
            return None
        groups = new_order.view(-1, self.beam_size) // self.beam_size
        return groups[:, 0] if bool((groups == groups[:, :1]).all()) else None

    def size_bytes(self) -> int:
        """Bytes of the memories and of the source's keys and values."""
        return self.past.size_bytes() + sum(source.size_bytes() for source in self.sources)
