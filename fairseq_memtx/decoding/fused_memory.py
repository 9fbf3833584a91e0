"""The Feedback decoder's memory for fused steps.

Size legend: B sentences, R rows a sentence, N = B * R, C model dimension, H heads, D = C / H, P
entries before the first position, s slots of the past, G projections, L layers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..modules.carried_memory import CarriedMemory
from ..modules.mixture import LayerMixture, RoutedMixture, mix, route
from ..modules.stream_memory import Memory
from .beam_cache import BeamCache
from .fused_parts import ByDistance, PastCache, normed
from .linear import FrozenLinear


class FusedMemory:
    """The Feedback decoder's memory, from a position's states to its keys and values.

    Attributes:
        kinds: of keys and values, those of a channel's projections side by side.
        kind_of_layer: the first of the two kinds that each layer reads.
    """

    def __init__(self, memory: Any):
        self.mix = fused_mixture(memory.mixture)
        self.norm = memory.layer_norm
        by_channel = memory.wiring.by_channel()
        self.project = [
            FrozenLinear([part[g] for g in pairs for part in (memory.k_proj, memory.v_proj)])
            for pairs in by_channel
        ]
        order = memory.wiring.in_order()
        self.kinds = 2 * len(order)
        self.kind_of_layer = [2 * order.index(pair) for pair in memory.wiring.layers]
        self.span, self._pairs = memory.span, order
        self.distance_keys = None
        if memory.distance_keys is not None:
            self.distance_keys = memory.distance_keys.detach().clone()
        self.looks_at_distances = self.span > 0 or self.distance_keys is not None

    def entries_of(self, memory: Memory) -> tuple[Tensor, Tensor | None]:
        """A memory as entries `(kinds, B, H, P, D)`; where none is, `(B, P)`, None for nowhere."""
        assert isinstance(memory, CarriedMemory)
        return memory.entries(self._pairs), memory.hidden

    def look_over(self, past: PastCache) -> ByDistance | None:
        """Hide what is out of reach of the next position; what distances add to keys."""
        if not self.looks_at_distances:
            return None
        assert isinstance(past, BeamCache), "the cache of recordings knows no distances"
        if self.span > 0:
            past.hide_beyond(self.span)
        if self.distance_keys is None:
            return None
        last = len(self.distance_keys) - 1  # the key of all larger distances; that of 1 is first
        return ByDistance(self.distance_keys, (past.distances() - 1).clamp(max=last))

    def __call__(self, states: list[Tensor]) -> Tensor:
        """Entries `(N, 2G, C)` of L + 1 states `(N, C)`."""
        memories = self.mix(states)
        if self.norm is not None:
            memories = [normed(self.norm, memory, True) for memory in memories]
        entries = [project(memory) for project, memory in zip(self.project, memories, strict=True)]
        joined = entries[0] if len(entries) == 1 else torch.cat(entries, dim=1)
        return joined.unflatten(1, (self.kinds, -1))


def fused_mixture(mixture: LayerMixture) -> Callable[[list[Tensor]], list[Tensor]]:
    """From L + 1 states `(N, C)` to the memory `(N, C)` of each channel, by the weights of now."""
    if not isinstance(mixture, RoutedMixture):
        shares = mixture.by_channel().tolist()
        return lambda states: [weighted_sum(states, of_channel) for of_channel in shares]
    router, numbers = mixture.scaled_router().detach(), mixture.numbers
    offsets = mixture.weight.detach().view(mixture.channels, -1)

    def mix_routed(states: list[Tensor]) -> list[Tensor]:
        joined = torch.stack([states[number] for number in numbers], dim=1)
        return mix(route(joined.flatten(1), router, offsets), joined)

    return mix_routed


def weighted_sum(states: list[Tensor], shares: list[float]) -> Tensor:
    """The sum of states `(N, C)`, each times its share."""
    mixed = states[0] * shares[0]
    for share, state in zip(shares[1:], states[1:], strict=True):
        mixed.add_(state, alpha=share)
    return mixed
