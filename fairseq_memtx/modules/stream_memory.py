"""The memory of a pass over a text in blocks, kept outside of any module.

Blocks come in order, each with the memory left by the one before. A block may come again (fairseq
repeats a batch after running out of memory) and finds the memory it found the first time; an
earlier block that comes out of order (fairseq's dummy batches) changes nothing.
"""

from collections.abc import Hashable
from typing import NamedTuple

from .carried_memory import CarriedMemory
from .segment_memory import SegmentMemory

Memory = SegmentMemory | CarriedMemory


class _Place(NamedTuple):
    block: int
    before: Memory | None
    after: Memory | None


class StreamMemory:
    """Memories of one pass over a text, by reader: the models of an ensemble have one each."""

    def __init__(self):
        self._places: dict[Hashable, _Place] = {}

    def read(self, reader: Hashable, block: int) -> Memory | None:
        """The memory before `block` (from 0); None at the start, or where the block before is not
        known, as after resuming in the middle."""
        place = self._places.get(reader)
        if place is None or block == 0:
            return None
        return {place.block: place.before, place.block + 1: place.after}.get(block)

    def write(self, reader: Hashable, block: int, memory: Memory) -> None:
        """The memory after `block`; its gradient history is dropped."""
        place = self._places.get(reader)
        if place is None or block > place.block:
            self._places[reader] = _Place(block, self.read(reader, block), memory.detach())


class StreamBlock:
    """A block of a stream: what a model is given to read and write its memory."""

    def __init__(self, memory: StreamMemory, number: int):
        self.memory, self.number = memory, number

    def read(self, reader: Hashable) -> Memory | None:
        """The memory before this block."""
        return self.memory.read(reader, self.number)

    def write(self, reader: Hashable, memory: Memory) -> None:
        """The memory after this block."""
        self.memory.write(reader, self.number, memory)
