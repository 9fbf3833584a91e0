"""The past of a block of positions that run at once: what is known of their memories so far.

Size legend: B sentences, Q positions of the block, N = B * Q rows (a sentence's positions side by
side), K entries in view, H heads, D head dimension, C = H * D, G pairs of projections.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..modules.attention import masked_softmax
from ..modules.dropout import drop
from ..modules.relative_positions import by_key
from .interface import Recurrence
from .memory_reads import joined_masks


class BlockView(NamedTuple):
    """What one layer sees from a block: see `MemoryView`, which serves a single position.

    Attributes:
        keys, values: `(B, H, K, D)`; the last Q entries belong to the block itself.
        hidden: `(B or 1, 1, Q, K)`, True at entries that a position does not see.
        distance_keys: `(K, D)`, the learned keys of the distances K - 1, ..., 0 (never seen), or
            None.
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor
    distance_keys: Tensor | None

    def attend(self, query: Tensor, dropout_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The context `(B, H, Q, D)` and the probabilities before dropout `(B, H, Q, K)` of query
        `(B, H, Q, D)`, mask `(B, H, Q, K)` or None.
        """
        scores = torch.matmul(query, self.keys.transpose(-1, -2))
        if self.distance_keys is not None:
            scores = scores + by_key(torch.matmul(query, self.distance_keys.t()))
        probs = masked_softmax(scores, self.hidden)
        return torch.matmul(drop(probs, dropout_mask), self.values), probs


class BlockPast:
    """The memories of earlier blocks, which are settled, and of the block in hand.

    A `memory.PastMemories`, whose `add_memory` sets the memories of the whole block anew.

    Args:
        r: the recurrence, for the memory's parameters, the padding and the carried memories.
    """

    def __init__(self, r: Recurrence):
        self.memory = r.memory
        self.hidden = joined_masks(r.past, r.padding_mask, len(r.inputs))
        self._num_carried = 0 if r.past is None else len(r.past)
        # Entries of the block in hand, counted from the first carried memory.
        self._entries = range(self._num_carried, self._num_carried)
        self._settled: list[tuple[Tensor, Tensor]] = []
        if r.past is not None:
            self._settled.append((r.past.keys.type_as(r.inputs), r.past.values.type_as(r.inputs)))
        self._current: tuple[Tensor, Tensor] | None = None
        self._hidden: Tensor | None = None

    def __len__(self) -> int:
        """Number of entries to the end of the block."""
        return self._entries.stop

    def begin(self, block: range) -> None:
        """Settle the memories of the block in hand and take the positions that follow it."""
        if self._current is not None:
            self._settled.append(self._current)
        self._entries = range(block.start + self._num_carried, block.stop + self._num_carried)
        self._current = self._hidden = None

    def views(self) -> Sequence[BlockView]:
        assert self._current is not None, "a block begins with a guess of its memories"
        # keys and values, each (G, B, H, K, D)
        keys, values = (
            torch.cat(parts, dim=3)[..., self._first() :, :]
            for parts in zip(*self._settled, self._current, strict=True)
        )
        if self._hidden is None:
            self._hidden = self._not_seen(keys.device)
        position_keys = self.memory.position_keys(keys.size(3), nearest=0)
        return [
            BlockView(k, v, self._hidden, position_keys) for k, v in zip(keys, values, strict=True)
        ]

    def add_memory(self, keys: Tensor, values: Tensor, padding: Tensor | None = None) -> None:
        """Set the block's keys and values `(G, N, H, D)`; padding is known from the start."""
        size = len(self._entries)
        # (G, N, H, D) -> (G, B, Q, H, D) -> (G, B, H, Q, D)
        keys, values = (x.unflatten(1, (-1, size)).transpose(2, 3) for x in (keys, values))
        self._current = keys, values

    def _first(self) -> int:
        """The first entry that any position of the block sees."""
        span = self.memory.span
        return max(self._entries.start - span, 0) if span > 0 else 0

    def _not_seen(self, device: torch.device) -> Tensor:
        """`(B or 1, 1, Q, K)`: the position itself, later ones, those beyond the span, padding."""
        first, stop = self._first(), self._entries.stop
        position = torch.arange(self._entries.start, stop, device=device)[:, None]
        entry = torch.arange(first, stop, device=device)
        hidden = entry >= position
        if self.memory.span > 0:
            hidden = hidden | (entry < position - self.memory.span)
        if self.hidden is None:
            return hidden[None, None]
        return hidden | self.hidden[:, None, None, first:stop]
