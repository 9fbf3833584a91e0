"""Decoding state of a segment decoder: a bounded number of entries a layer, whatever the length.

A layer holds the keys and values of at most n_cm + n_m + n_s positions, [compressed ; memory ;
segment]. When the segment is full, the next step first moves it into the memory and compresses what
falls out: the same Algorithm 1 (Rae et al. 2019, arXiv 1911.05507) as `segment_attention`.

Size legend: N rows (sentences times beams), t entries, C model dimension, H heads, D = C / H, n_s
segment, n_m memory, n_cm compressed memory, c rate.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .cache import GrowingTensor
from .segment_attention import InView, Norm, SegmentAttention, fitting
from .segment_memory import LayerMemory, SegmentLengths, join_hidden


class LayerCache:
    """One layer's keys and values and, where they may have to be compressed, its states.

    Not differentiable.

    Args:
        attention: the layer's attention.
        norm: its norm before attention, the identity for post-norm.
        lengths: of segments and memories.
        memory: from the text before; `LayerMemory.empty` for none. Its rows are the search's.
    """

    def __init__(
        self,
        attention: SegmentAttention,
        norm: Norm,
        lengths: SegmentLengths,
        memory: LayerMemory,
    ):
        self.attention, self.norm, self.lengths = attention, norm, lengths
        memory = fitting(memory, lengths)
        row = memory.recent.new_empty(memory.recent.size(0), memory.recent.size(2))
        heads = row.unflatten(1, (attention.num_heads, -1))
        self.keys, self.values = GrowingTensor(heads), GrowingTensor(heads)
        self.hidden = GrowingTensor(row.new_empty(row.size(0), dtype=torch.bool))
        self.states: GrowingTensor | None = None
        self.usage: GrowingTensor | None = None
        if attention.compression is not None and lengths.compressed > 0:
            self.states = GrowingTensor(row)
            if attention.compression.uses_attention:
                self.usage = GrowingTensor(row[:, 0])
        self.distance_keys = row.new_empty(attention.num_heads, 0, heads.size(2))
        self._start(memory)

    def _start(self, memory: LayerMemory) -> None:
        """Fill the buffers with the memory of the text before."""
        self.num_compressed = memory.compressed.size(1)
        self.num_recent, self.num_segment = memory.recent.size(1), 0
        both = (memory.compressed, memory.recent)
        keys, values = self._entries(torch.cat(both, dim=1))
        self.keys.replace(keys)
        self.values.replace(values)
        hidden = join_hidden(memory.compressed_hidden, memory.recent_hidden, both)
        self.none_hidden = hidden is None
        self.hidden.replace(
            keys.new_zeros(keys.shape[:2], dtype=torch.bool) if hidden is None else hidden.t()
        )
        if self.states is not None:
            self.states.replace(memory.recent.transpose(0, 1))
        if self.usage is not None:
            usage = memory.usage
            usage = memory.recent.new_zeros(memory.recent.shape[:2]) if usage is None else usage
            self.usage.replace(usage.t())

    def _entries(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `(t, N, H, D)` of states `(N, t, C)`."""
        attention = self.attention
        y = self.norm(states).transpose(0, 1)
        heads = (attention.num_heads, -1)
        return attention.k_proj(y).unflatten(2, heads), attention.v_proj(y).unflatten(2, heads)

    def attend_position(self, x: Tensor, padding: Tensor | None, drop_probs: bool) -> Tensor:
        """Attend from one position and remember it.

        Args:
            x: `(N, C)`, the layer's input before its norm.
            padding: `(N,)`, True where the position is a padding symbol, which only it itself sees.
            drop_probs: apply attention dropout.

        Returns:
            `(N, C)`.
        """
        if self.num_segment == self.lengths.segment:
            self._end_segment()
        attention, query = self.attention, self._append(x, padding)
        first = self._first_in_view()
        # (t, N, H, D) -> (N, H, t, D)
        keys = self.keys.filled()[first:].permute(1, 2, 0, 3)
        values = self.values.filled()[first:].permute(1, 2, 0, 3)
        hidden = None
        if not self.none_hidden:
            hidden = self.hidden.filled()[first:].t().clone()
            hidden[:, -1] = False  # a position always sees itself
        distances = self._keys_of_distances(keys.size(2))
        context, probs = attention.attend_position(
            query, keys, values, distances, hidden, drop_probs
        )
        self._count_usage(probs, first)
        if attention.listener is not None:
            attention.listener(probs, self._in_view(first))
        return attention.out_proj(context.flatten(1))

    def _append(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Add a position `(N, C)` to the segment and return its query `(N, H, D)`."""
        attention = self.attention
        y, heads = self.norm(x), (attention.num_heads, -1)
        self.keys.add_position(attention.k_proj(y).unflatten(1, heads))
        self.values.add_position(attention.v_proj(y).unflatten(1, heads))
        self.none_hidden &= padding is None
        self.hidden.add_position(False if padding is None else padding)
        if self.states is not None:
            self.states.add_position(x)
        if self.usage is not None:
            self.usage.add_position(0.0)
        self.num_segment += 1
        return (attention.q_proj(y) * attention.scaling).unflatten(1, heads)

    def _count_usage(self, probs: Tensor, first: int) -> None:
        """Add the attention `(N, H, t)` to entries from `first` on to the memory's account."""
        if self.usage is None:
            return
        used = self.usage.filled()[max(0, first - self.num_compressed) : self.num_recent]
        received = probs[..., max(0, self.num_compressed - first) :][..., : used.size(0)]
        used += received.detach().mean(dim=1).t()

    def _first_in_view(self) -> int:
        """The first entry that `same_length` lets the last one see."""
        furthest = self.lengths.furthest
        return 0 if furthest is None else max(0, self.keys.length - 1 - furthest)

    def _in_view(self, first: int) -> InView:
        """What the entries from `first` on are."""
        compressed = max(0, self.num_compressed - first)
        recent = self.keys.length - first - compressed - self.num_segment
        return InView(compressed, max(0, recent))

    def _keys_of_distances(self, num_keys: int) -> Tensor:
        """Keys of the distances num_keys - 1 .. 0, computed anew only when they run out."""
        if self.distance_keys.size(1) < num_keys:
            bound = self.lengths.compressed + self.lengths.memory + self.lengths.segment
            size = min(max(bound, num_keys), max(64, 2 * num_keys))
            self.distance_keys = self.attention.positions(size)
        return self.distance_keys[:, self.distance_keys.size(1) - num_keys :]

    def _end_segment(self) -> None:
        """m' = [m ; h][-n_m:], cm' = [cm ; f_c(old)][-n_cm:]."""
        total = self.num_recent + self.num_segment
        gone = max(0, total - self.lengths.memory)
        older, new = slice(0, self.num_compressed), self._compress(gone)
        younger = slice(self.num_compressed + gone, None)
        # [compressed ; gone ; memory] -> [compressed ; new ; memory], the last that fit
        size = min(self.num_compressed + new[0].size(0), self.lengths.compressed)
        first = self.num_compressed + new[0].size(0) - size
        for buffer, made in zip((self.keys, self.values, self.hidden), new, strict=True):
            old = buffer.filled()
            buffer.replace(torch.cat([old[older], made, old[younger]])[first:])
        for other in (self.states, self.usage):
            if other is not None:
                other.replace(other.filled()[gone:].clone())
        self.num_compressed = size
        self.num_recent, self.num_segment = total - gone, 0

    def _compress(self, gone: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values `(t, N, H, D)` and mask `(t, N)` of f_c of the `gone` oldest states."""
        compression = self.attention.compression
        if self.states is None or compression is None or gone == 0:
            return self.keys.filled()[:0], self.values.filled()[:0], self.hidden.filled()[:0]
        # a block is as long as a segment; what it lacks at first does not exist
        lack = (self.lengths.segment - gone, 0)
        block = nn.functional.pad(self.states.filled()[:gone].transpose(0, 1), (0, 0, *lack))
        hidden = self.hidden.filled()[self.num_compressed : self.num_compressed + gone]
        usage = None
        if self.usage is not None:
            usage = nn.functional.pad(self.usage.filled()[:gone].t(), lack)
        new = compression(block, nn.functional.pad(hidden.t(), lack, value=True), usage)
        assert new.hidden is not None
        first = int((~new.hidden).any(dim=0).int().argmax())
        hidden = new.hidden[:, first:].t()
        self.none_hidden = self.none_hidden and not bool(hidden.any())
        return *self._entries(new.states[:, first:]), hidden

    def _buffers(self) -> list[GrowingTensor]:
        buffers = (self.keys, self.values, self.hidden, self.states, self.usage)
        return [buffer for buffer in buffers if buffer is not None]

    def reorder(self, new_order: Tensor) -> None:
        """Row i becomes the old row `new_order[i]`."""
        for buffer in self._buffers():
            buffer.reorder(new_order)

    def size_bytes(self) -> int:
        """Bytes of all entries, and of the keys of distances, which all rows share."""
        distance_keys = self.distance_keys.numel() * self.distance_keys.element_size()
        return distance_keys + sum(buffer.size_bytes() for buffer in self._buffers())


class SegmentCache:
    """The caches of all layers: the `past` of a `DecodingState`.

    Segments end for all rows at once, so that they must begin at once: padding on the left of a
    prefix, after which a row's segments would end later, has to fit into the first segment.

    Args:
        layers: one for each layer.
        segment: n_s.
    """

    def __init__(self, layers: Sequence[LayerCache], segment: int):
        self.layers, self.segment = list(layers), segment
        self.num_positions, self.left_padded = 0, False

    def begin_step(self, padding: Tensor | None) -> None:
        """To be called before the layers' steps; padding `(N,)` or None.

        Raises:
            ValueError: where a segment ends whose rows began at different positions.
        """
        if self.num_positions == 0:
            self.left_padded = padding is not None
        elif self.num_positions == self.segment and self.left_padded:
            raise ValueError(
                "the prefixes of a search in segments have padding on their left: they have to"
                f" have none, or be no longer than a segment of {self.segment}"
            )
        self.num_positions += 1

    def reorder(self, new_order: Tensor) -> None:
        """Row i becomes the old row `new_order[i]`."""
        for layer in self.layers:
            layer.reorder(new_order)

    def size_bytes(self) -> int:
        """Bytes held by all layers."""
        return sum(layer.size_bytes() for layer in self.layers)
