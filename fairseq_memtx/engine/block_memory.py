"""The past of a block of positions that run at once: what is known of their memories so far.

Size legend: B sentences, Q positions that run, N = B * Q rows (a sentence's positions side by
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
        keys, values: `(B, H, K, D)`; the last entries belong to the block itself.
        hidden: `(B or 1, 1, Q, K)`, True at entries that a position does not see.
        distance_keys: `(K, D)`, the learned keys of the distances K - 1, ..., 0 (never seen), or
            None.
        columns: `(Q, K)`, the number in `distance_keys` of each entry's distance; None where the
            positions are the last Q entries.
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor
    distance_keys: Tensor | None
    columns: Tensor | None = None

    def attend(self, query: Tensor, dropout_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The context `(B, H, Q, D)` and the probabilities before dropout `(B, H, Q, K)` of query
        `(B, H, Q, D)`, mask `(B, H, Q, K)` or None.
        """
        scores = torch.matmul(query, self.keys.transpose(-1, -2))
        if self.distance_keys is not None:
            by_distance = torch.matmul(query, self.distance_keys.t())
            if self.columns is None:
                scores = scores + by_key(by_distance)
            else:
                scores = scores + by_distance.gather(-1, self.columns.expand_as(by_distance))
        probs = masked_softmax(scores, self.hidden)
        return torch.matmul(drop(probs, dropout_mask), self.values), probs


class BlockPast:
    """The memories of earlier blocks, which are settled, and of the block in hand.

    A `memory.PastMemories`, whose `add_memory` sets the memories of the positions that run anew:
    all of the block, until `turn_to` names others.

    Args:
        r: the recurrence, for the memory's parameters, the padding and the carried memories.
    """

    def __init__(self, r: Recurrence):
        self.memory = r.memory
        self.hidden = joined_masks(r.past, r.padding_mask, len(r.inputs))
        self._num_carried = 0 if r.past is None else len(r.past)
        # Entries of the block in hand, counted from the first carried memory; those that run.
        self._entries = self._running = range(self._num_carried, self._num_carried)
        self._settled: list[tuple[Tensor, Tensor]] = []
        if r.past is not None:
            self._settled.append((r.past.keys.type_as(r.inputs), r.past.values.type_as(r.inputs)))
        self._current: tuple[Tensor, Tensor] | None = None
        self._seen: dict[range, tuple[Tensor, Tensor | None]] = {}

    def __len__(self) -> int:
        """Number of entries to the end of the block."""
        return self._entries.stop

    def begin(self, block: range) -> None:
        """Settle the memories of the block in hand and take the positions that follow it."""
        if self._current is not None:
            self._settled.append(self._current)
        self._entries = self._running = self._entries_of(block)
        self._current = None
        self._seen = {}

    def turn_to(self, positions: range) -> None:
        """Run these positions of the block in hand next, which may be some of it with a step."""
        self._running = self._entries_of(positions)

    def _entries_of(self, positions: range) -> range:
        first = self._num_carried
        return range(positions.start + first, positions.stop + first, positions.step)

    def views(self) -> Sequence[BlockView]:
        assert self._current is not None, "a block begins with a guess of its memories"
        # keys and values, each (G, B, H, K, D)
        keys, values = (
            torch.cat(parts, dim=3)[..., self._first() :, :]
            for parts in zip(*self._settled, self._current, strict=True)
        )
        if self._running not in self._seen:
            self._seen[self._running] = self._not_seen(keys.device), self._columns(keys.device)
        hidden, columns = self._seen[self._running]
        position_keys = self.memory.position_keys(keys.size(3), nearest=0)
        return [
            BlockView(k, v, hidden, position_keys, columns)
            for k, v in zip(keys, values, strict=True)
        ]

    def add_memory(self, keys: Tensor, values: Tensor, padding: Tensor | None = None) -> None:
        """Set keys and values `(G, N, H, D)` of what runs; padding is known from the start."""
        size = len(self._running)
        # (G, N, H, D) -> (G, B, Q, H, D) -> (G, B, H, Q, D)
        keys, values = (x.unflatten(1, (-1, size)).transpose(2, 3) for x in (keys, values))
        if self._running != self._entries:
            assert self._current is not None, "a block begins with a guess of its memories"
            first, places = self._entries.start, self._running
            where = torch.tensor([place - first for place in places], device=keys.device)
            before = self._current
            keys, values = (
                old.index_copy(3, where, new.to(old.dtype))
                for old, new in zip(before, (keys, values), strict=True)
            )
        self._current = keys, values

    def _first(self) -> int:
        """The first entry that any position of the block sees."""
        span = self.memory.span
        return max(self._entries.start - span, 0) if span > 0 else 0

    def _grid(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The positions that run `(Q, 1)` and the entries in view `(K,)`."""
        position = torch.tensor(self._running, device=device)[:, None]
        return position, torch.arange(self._first(), self._entries.stop, device=device)

    def _columns(self, device: torch.device) -> Tensor | None:
        """`(Q, K)`, see `BlockView`."""
        if self.memory.distance_keys is None or self._running == self._entries:
            return None
        position, entry = self._grid(device)
        distance = (position - entry).clamp(min=0)  # what comes later is not seen
        return len(entry) - 1 - distance

    def _not_seen(self, device: torch.device) -> Tensor:
        """`(B or 1, 1, Q, K)`: the position itself, later ones, those beyond the span, padding."""
        first, stop = self._first(), self._entries.stop
        position, entry = self._grid(device)
        hidden = entry >= position
        if self.memory.span > 0:
            hidden = hidden | (entry < position - self.memory.span)
        if self.hidden is None:
            return hidden[None, None]
        return hidden | self.hidden[:, None, None, first:stop]
