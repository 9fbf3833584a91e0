"""The memory of a pass over a text in blocks, kept outside of any module.

Blocks come in order, each with the memory left by the one before. A block may come again (fairseq
repeats a batch after running out of memory) and finds the memory it found the first time; an
earlier block that comes out of order (fairseq's dummy batches) changes nothing. The memory between
two blocks can be saved and restored.
"""

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .carried_memory import CarriedMemory
from .pair_memory import PairMemory
from .segment_memory import LayerMemory, SegmentMemory

Memory = SegmentMemory | CarriedMemory | PairMemory


class _Place(NamedTuple):
    block: int
    before: Memory | None
    after: Memory | None


class StreamMemory:
    """Memories of one pass over a text, by reader: the models of an ensemble have one each."""

    def __init__(self):
        self._places: dict[Hashable, _Place] = {}
        self._restored: _Place | None = None

    def read(self, reader: Hashable, block: int) -> Memory | None:
        """The memory before `block` (from 0); None at the start, or where the block before is not
        known.
        """
        place = self._places.get(reader, self._restored)
        if place is None or block == 0:
            return None
        return {place.block: place.before, place.block + 1: place.after}.get(block)

    def write(self, reader: Hashable, block: int, memory: Memory) -> None:
        """The memory after `block`; its gradient history is dropped."""
        place = self._places.get(reader)
        if place is None or block > place.block:
            self._places[reader] = _Place(block, self.read(reader, block), memory.detach())

    def state(self, block: int) -> dict[str, Any] | None:
        """What its only reader has to find before `block`, as plain containers of tensors on the
        CPU; None where that is nothing or there are several readers.
        """
        if len(self._places) != 1:
            return None
        memory = self.read(next(iter(self._places)), block)
        if memory is None:
            return None
        return {"block": block, **pack_memory(memory)}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "StreamMemory":
        """A pass that goes on from `state`, whoever reads."""
        stream = cls()
        stream._restored = _Place(state["block"] - 1, None, unpack_memory(state))
        return stream


def pack_memory(memory: Memory) -> dict[str, Any]:
    """A memory as plain containers of tensors on the CPU."""
    if isinstance(memory, PairMemory):
        return {"source": pack_memory(memory.source), "target": pack_memory(memory.target)}
    if isinstance(memory, SegmentMemory):
        return {"layers": [_packed(_with_flags(layer)) for layer in memory.layers]}
    return {"entries": _packed((memory.keys, memory.values, memory.hidden))}


def unpack_memory(packed: dict[str, Any]) -> Memory:
    """Undo `pack_memory`."""
    if "source" in packed:
        source, target = (unpack_memory(packed[side]) for side in ("source", "target"))
        return PairMemory(source, target)  # type: ignore[arg-type]
    if "layers" in packed:
        return SegmentMemory([_with_flags(LayerMemory(*layer)) for layer in packed["layers"]])
    return CarriedMemory(*packed["entries"])


def _with_flags(layer: LayerMemory) -> LayerMemory:
    """A layer's memory with its masks turned round, there and back.

    Checkpoints have always held flags that are True where an entry exists.
    """
    masks = layer.recent_hidden, layer.compressed_hidden
    recent, compressed = (None if mask is None else ~mask for mask in masks)
    return layer._replace(recent_hidden=recent, compressed_hidden=compressed)


def _packed(tensors: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Copies on the CPU, each one block of memory of its own: fairseq sends those of a checkpoint
    to other ranks by their storage.
    """
    contiguous = torch.contiguous_format
    return [None if x is None else x.cpu().clone(memory_format=contiguous) for x in tensors]


class StreamBlock:
    """A block of a stream: what a model is given to read and write its memory."""

    def __init__(self, memory: StreamMemory, number: int):
        self.memory, self.number = memory, number

    def read(self, reader: Hashable, like: Tensor) -> Memory | None:
        """The memory before this block, on the device of `like`."""
        memory = self.memory.read(reader, self.number)
        return None if memory is None else memory.to(like.device)

    def write(self, reader: Hashable, memory: Memory) -> None:
        """The memory after this block."""
        self.memory.write(reader, self.number, memory)
