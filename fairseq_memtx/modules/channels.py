"""Which layer reads which keys and values, where a position has several memories: channels.

WhiteMatter (Zhang and Ren 2026) makes the keys and values of k channels, each a mixture of all
layers' states of its own, and lets layer l read channel l mod k. With one channel that is the
memory of Fan et al. 2020 (arXiv 2002.09402), with as many as layers each layer has its own.

Size legend: L layers, G pairs of projections.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wiring:
    """From the layers to the channels that they read, by way of pairs of projections.

    Attributes:
        layers: of each of the L layers, the pair whose keys and values it reads.
        pairs: of each of the G pairs, the channel that it projects.
    """

    layers: tuple[int, ...]
    pairs: tuple[int, ...]

    @property
    def num_channels(self) -> int:
        """How many channels there are."""
        return 1 + max(self.pairs)

    def by_channel(self) -> list[list[int]]:
        """The pairs of each channel."""
        return [
            [pair for pair, channel in enumerate(self.pairs) if channel == number]
            for number in range(self.num_channels)
        ]

    def in_order(self) -> list[int]:
        """All pairs, channel after channel."""
        return [pair for pairs in self.by_channel() for pair in pairs]


def read_parts(
    layers: Sequence[int], channels: int, shared: bool
) -> tuple[list[int], list[int], list[int]]:
    """The pair that each of some layers reads, all these pairs, and their channels.

    All by their numbers in the whole decoder, the latter two ascending and each once.

    Args:
        layers: numbers of layers of the whole decoder, from 0.
        channels: how many.
        shared: the layers that read a channel share its pair of projections; else each has one.
    """
    reads = [layer % channels if shared else layer for layer in layers]
    pairs = sorted(set(reads))
    return reads, pairs, sorted({pair % channels for pair in pairs})


def wire(num_layers: int, channels: int, shared: bool, kept: Sequence[int] | None = None) -> Wiring:
    """The wiring of a decoder.

    Args:
        num_layers: L.
        channels: of the whole decoder, how many.
        shared: see `read_parts`.
        kept: of a pruned decoder, the numbers its L layers had; they read what they read then, and
            what none of them reads is gone.
    """
    numbers = range(num_layers) if kept is None else kept
    reads, pairs, known = read_parts(numbers, channels, shared)
    return Wiring(
        layers=tuple(map(pairs.index, reads)),
        pairs=tuple(known.index(pair % channels) for pair in pairs),
    )
