"""The past of a decoder that works in segments, for fused steps: Transformer-XL.

Keys and values of states stay what they are, so that the past is the slots of a `BeamCache`, of
which a position sees those of its segment and of the memory before it: none further back than the
memory is long, counted from the segment's first position. Beyond that, slots are hidden, and their
room is used again. A compressed memory is made of states, which no slot holds: decoders that have
one run by their own steps.

Of the scores of Dai et al. 2019 (arXiv 1901.02860, section 3.3), q.k + q.r + u.k + v.r, a query
with u in it gives q.k + u.k and, with the key r of a distance, q.r + u.r; what is missing is
(v - u).r, the same for all queries.

Size legend: B sentences, C model dimension, H heads, D = C / H, P entries before the first
position, s slots of the past, n distances, L layers.
"""

from typing import Any

import torch
from torch import Tensor

from ..modules.segment_attention import SegmentAttention
from ..modules.segment_memory import SegmentLengths, SegmentMemory
from ..modules.stream_memory import Memory
from .beam_cache import BeamCache
from .fused_parts import ByDistance, PastCache, normed

#: Distances that keys are made of at first.
AT_FIRST = 64


def scaled_bias(attention: Any) -> Tensor | None:
    """u of all heads `(C,)`, as the query is scaled; None where there is none."""
    if not isinstance(attention, SegmentAttention) or attention.positions.content_bias is None:
        return None
    return attention.scaling * attention.positions.content_bias.detach().flatten()


class Distances:
    """The keys of distances of one layer, and what is missing from their scores.

    Args:
        attention: the layer's.
        most: distances that can be in view.
    """

    def __init__(self, attention: SegmentAttention, most: int):
        self._attention, self._most = attention, most
        self._made = self._make(min(most, AT_FIRST))

    def first(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Keys `(H or 1, n, D)` of at least `count` distances from 0 on, and offsets `(H, n)`."""
        if self._made[0].size(1) < min(count, self._most):
            self._made = self._make(min(self._most, 2 * count))
        return self._made

    @torch.no_grad()
    def _make(self, count: int) -> tuple[Tensor, Tensor | None]:
        attention = self._attention
        keys = attention.positions(count).flip(1).contiguous()
        u, v = attention.positions.content_bias, attention.positions.position_bias
        if u is None or v is None:
            return keys, None
        rest = attention.scaling * (v - u)
        return keys, torch.matmul(keys, rest.unsqueeze(2)).squeeze(2)


class FusedSegments:
    """What a decoder in segments sees of its past, and at what distances.

    Args:
        decoder: one without compressed memory, whose layers have memories of the same length.
    """

    def __init__(self, decoder: Any):
        self._layers = list(decoder.layers)
        lengths = decoder.lengths(self._layers[0])
        self._lengths: SegmentLengths = lengths
        self._most = most = lengths.memory + (1 if lengths.same_length else lengths.segment)
        self._distances = [Distances(layer.self_attn, most) for layer in self._layers]

    @torch.no_grad()
    def entries_of(self, memory: Memory) -> tuple[Tensor, Tensor | None]:
        """A memory, as much as is in reach, as entries `(2L, B, H, P, D)`; where none is, `(B, P)`,
        None for nowhere.
        """
        assert isinstance(memory, SegmentMemory)
        entries = []
        for layer, of_layer in zip(self._layers, memory.layers, strict=True):
            attention = layer.self_attn
            y = normed(layer.self_attn_layer_norm, of_layer.recent, layer.normalize_before)
            # (B, P, C) -> (B, H, P, D)
            entries += [
                proj(y).unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
                for proj in (attention.k_proj, attention.v_proj)
            ]
        return torch.stack(entries), memory.layers[0].recent_hidden

    def look_over(self, past: PastCache) -> list[ByDistance | None]:
        """Hide what the newest position does not see; what distances add, for each layer."""
        assert isinstance(past, BeamCache), "the cache of recordings knows no distances"
        of_slot = past.distances() - 1  # a position is at distance 0 of itself
        in_segment = (past.opened - 1) % self._lengths.segment
        begins = 1 if self._lengths.same_length else in_segment + 1
        past.hide_beyond(self._lengths.memory + begins)
        made = [distances.first(past.reach) for distances in self._distances]
        of_slot = of_slot.clamp_(max=made[0][0].size(1) - 1)
        return [
            ByDistance(keys[0] if len(keys) == 1 else keys, of_slot, offsets)
            for keys, offsets in made
        ]
