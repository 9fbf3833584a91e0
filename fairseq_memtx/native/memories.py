"""Memories that documents carry from sentence to sentence, in the form in which the engine's
searches begin with them.

Size legend: B sentences, M recent entries, Z compressed states, C model dimension, L layers, G
pairs of projections, K kinds of entries (see `library.NativeMemory`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..modules.carried_memory import CarriedMemory
from ..modules.pair_memory import PairMemory
from ..modules.segment_memory import LayerMemory, SegmentLengths
from ..modules.stream_memory import Memory
from .library import NativeMemory
from .weights import layers_of


class UnknownMemoryError(Exception):
    """The engine cannot begin with a memory; the message says why, in one line."""


def native_memory(decoder: Any, memory: Memory | None) -> NativeMemory | None:
    """What a search by a decoder begins with; None for nothing.

    Args:
        decoder: one that the engine runs, and that can carry its memory.
        memory: what it has read before each sentence, or None.

    Raises:
        UnknownMemoryError: where a row's entries do not stand at its end, those of its layers are
            not equally many, or there is one of the source too.
    """
    if isinstance(memory, PairMemory):
        raise UnknownMemoryError("the encoder remembers too")
    memory = None if memory is None else decoder.in_reach(memory)
    if isinstance(memory, CarriedMemory):
        return _of_feedback(memory, decoder.memory.wiring.in_order())
    if memory is None:
        return None
    return _of_segments(memory.layers, [decoder.lengths(layer) for layer in layers_of(decoder)])


def _of_feedback(memory: CarriedMemory, order: Sequence[int]) -> NativeMemory:
    # (2 G, B, H, M, D) -> (2 G, B, M, C)
    first = memory.entries(order).transpose(2, 3).flatten(3).float()
    return NativeMemory(first, _counts(first[0], memory.hidden))


def _of_segments(layers: Sequence[LayerMemory], lengths: Sequence[SegmentLengths]) -> NativeMemory:
    both = list(zip(layers, lengths, strict=True))
    entries = [_counts(x.recent, x.recent_hidden) for x, kept in both if kept.memory > 0]
    compressed = [
        _counts(x.compressed, x.compressed_hidden) for x, kept in both if kept.compressed > 0
    ]
    received = None
    if any(layer.usage is not None for layer in layers):
        unused = [layer.recent.new_zeros(layer.recent.shape[:2]) for layer in layers]
        each = zip(layers, unused, strict=True)
        received = _side_by_side([zeros if x.usage is None else x.usage for x, zeros in each])
    rows = len(layers[0].recent)
    return NativeMemory(
        _side_by_side([layer.recent for layer in layers]),
        _same(entries, rows),
        _side_by_side([layer.compressed for layer in layers]),
        _same(compressed, rows),
        received,
    )


def _counts(entries: Tensor, hidden: Tensor | None) -> Tensor:
    """How many of entries `(B, M, C)` each row has, `(B,)`.

    Raises:
        UnknownMemoryError: where those that `hidden` `(B, M)` leaves do not stand at the row's end.
    """
    size = entries.size(1)
    if hidden is None:
        return torch.full((len(entries),), size)
    counts = (~hidden).sum(dim=1)
    if not torch.equal(hidden, torch.arange(size) < size - counts[:, None]):
        raise UnknownMemoryError("the entries of a memory do not stand at the end of their row")
    return counts


def _same(counts: Sequence[Tensor], rows: int) -> Tensor:
    """Those of all layers that remember, which are the same; zeros where none does.

    Raises:
        UnknownMemoryError: where they are not.
    """
    if not all(torch.equal(counts[0], other) for other in counts):
        raise UnknownMemoryError("the layers do not remember equally many positions")
    return counts[0] if counts else torch.zeros(rows, dtype=torch.int64)


def _side_by_side(layers: Sequence[Tensor]) -> Tensor:
    """`(L, B, M, ...)` of each layer's `(B, m, ...)`, zeros before the shorter ones."""
    size = max(layer.size(1) for layer in layers)
    made = layers[0].new_zeros((len(layers), len(layers[0]), size, *layers[0].shape[2:]))
    for to, layer in zip(made, layers, strict=True):
        to[:, size - layer.size(1) :] = layer
    return made.float()
