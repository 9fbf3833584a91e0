"""The memories of documents in lanes, kept outside of any module.

What a lane holds is marked with the sentence that it was left by, and is given out to the sentence
that follows that one in its document and to no other: a memory cannot come from another document,
however batches are repeated, left out or mixed up. fairseq repeats a batch after running out of
memory; the same sentence again finds the memory that it found the first time.

In training several sentences of each document may be one batch, a column each (`modules.lanes`).
`LaneColumns` gives each column the memory of the one before with its gradient history; what is left
after the last one is kept without.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .stream_memory import Memory, pack_memory, unpack_memory


class LaneRow(NamedTuple):
    """A row of a batch.

    Attributes:
        lane: where its memory is kept.
        sentence: number of its sentence.
        previous: number of the sentence before it in its document, -1 for none.
    """

    lane: int
    sentence: int
    previous: int


@dataclass(frozen=True)
class _Kept:
    """The memory of one row after a sentence, and what there was before it; None is an empty one.

    Of what was there before, nothing older is kept. `first` is the sentence that `before` is for:
    the same one, or the first of several that were read at once.
    """

    sentence: int
    memory: Memory | None
    before: "_Kept | None"
    first: int


class LaneMemories:
    """Memories of one pass over documents, by reader: the models of an ensemble have one each.

    A model whose encoder remembers too has one of both sides, a `PairMemory`.
    """

    def __init__(self) -> None:
        self._lanes: dict[Hashable, dict[int, _Kept]] = {}
        self._restored: dict[int, _Kept] = {}

    def read(self, reader: Hashable, rows: Sequence[LaneRow]) -> Memory | None:
        """The memory before each row's sentence; None where no row has any."""
        lanes = self._lanes_of(reader)
        return join_memories([self._before(lanes, row) for row in rows])

    def write(
        self,
        reader: Hashable,
        rows: Sequence[LaneRow],
        memory: Memory,
        first: Sequence[LaneRow] | None = None,
    ) -> None:
        """The memory after each row's sentence; its gradient history is dropped.

        Args:
            reader: whose memory.
            rows: what was read.
            memory: after it.
            first: the rows of the sentences with which the reading began; None for `rows`.
        """
        lanes = self._lanes_of(reader)
        after_each: Sequence[Memory] = memory.detach().split()
        for row, begun, after in zip(rows, first or rows, after_each, strict=True):
            self._keep(lanes, row, begun, after)

    def _keep(
        self, lanes: dict[int, _Kept], row: LaneRow, begun: LaneRow, after: Memory | None
    ) -> None:
        before = self._before(lanes, begun)
        kept = None if before is None else _Kept(begun.previous, before, None, begun.previous)
        lanes[row.lane] = _Kept(row.sentence, after, kept, begun.sentence)

    def _lanes_of(self, reader: Hashable) -> dict[int, _Kept]:
        if reader not in self._lanes:
            self._lanes[reader] = dict(self._restored)
        return self._lanes[reader]

    @staticmethod
    def _before(lanes: dict[int, _Kept], row: LaneRow) -> Memory | None:
        """What the lane holds for the sentence of `row`; None for nothing."""
        kept = lanes.get(row.lane)
        if row.previous < 0 or kept is None:
            return None
        if kept.first == row.sentence:  # once more
            kept = kept.before
        return kept.memory if kept is not None and kept.sentence == row.previous else None

    def keep(self, reader: Hashable, row: LaneRow) -> None:
        """Let the memory before a sentence count as the one after it: it has left nothing."""
        lanes = self._lanes_of(reader)
        self._keep(lanes, row, row, self._before(lanes, row))

    def size_bytes(self) -> int:
        """Bytes of all memories, of what was before the last sentence too."""
        held = [kept for lanes in self._lanes.values() for kept in lanes.values()]
        held += [kept.before for kept in held if kept.before is not None]
        return sum(kept.memory.size_bytes() for kept in held if kept.memory is not None)

    def state(self) -> dict[str, Any] | None:
        """The memories of its only reader as plain containers of tensors on the CPU; None where
        there are none or several readers.
        """
        if len(self._lanes) > 1:
            return None
        lanes = next(iter(self._lanes.values()), self._restored)
        held = {lane: kept for lane, kept in sorted(lanes.items()) if kept.memory is not None}
        joined = join_memories([kept.memory for kept in held.values()])
        if joined is None:
            return None
        sentences = [kept.sentence for kept in held.values()]
        return {"lanes": list(held), "sentences": sentences, **pack_memory(joined)}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> "LaneMemories":
        """A pass that goes on from `state`, whoever reads."""
        memories = cls()
        rows: Sequence[Memory] = unpack_memory(state).split()
        for lane, sentence, memory in zip(state["lanes"], state["sentences"], rows, strict=True):
            memories._restored[lane] = _Kept(sentence, memory, None, sentence)
        return memories


class LaneBatch:
    """A batch of documents in lanes: what a model is given to read and write its memory.

    Attributes:
        unrolled: gradients go back through the memory.
    """

    unrolled = False

    def __init__(self, memories: LaneMemories, rows: Sequence[LaneRow]):
        self.memories, self.rows = memories, rows

    def read(self, reader: Hashable, like: Tensor) -> Memory | None:
        """The memory before the rows' sentences, on the device of `like`."""
        memory = self.memories.read(reader, self.rows)
        return None if memory is None else memory.to(like.device)

    def write(self, reader: Hashable, memory: Memory) -> None:
        """The memory after the rows' sentences."""
        self.memories.write(reader, self.rows, memory)


class LaneColumns:
    """The columns of a batch whose lanes advance by several sentences: gradients go back through
    the memories between them.

    Args:
        memories: of the lanes, without gradient history.
        columns: the rows of each column; those of a column are lanes of the one before.
    """

    def __init__(self, memories: LaneMemories, columns: Sequence[Sequence[LaneRow]]):
        self.memories, self.columns = memories, columns
        self._first = {row.lane: row for row in columns[0]}
        self._after: dict[Hashable, Memory] = {}

    def batches(self) -> list["LaneBatch"]:
        """What the model is given for each column; to be read and written in order."""
        return [_Column(self, number) for number in range(len(self.columns))]

    def read(self, reader: Hashable, number: int) -> Memory | None:
        """The memory before the sentences of a column."""
        rows = self.columns[number]
        if number == 0:
            return self.memories.read(reader, rows)
        return self._of_rows(self._after[reader], self.columns[number - 1], rows)

    def write(self, reader: Hashable, number: int, memory: Memory) -> None:
        """The memory after the sentences of a column."""
        rows, last = self.columns[number], number + 1 == len(self.columns)
        going_on = set() if last else {row.lane for row in self.columns[number + 1]}
        done = [row for row in rows if row.lane not in going_on]
        if done:
            left = memory if len(done) == len(rows) else self._of_rows(memory, rows, done)
            self.memories.write(reader, done, left, [self._first[row.lane] for row in done])
        self._after[reader] = memory

    @staticmethod
    def _of_rows(memory: Memory, rows: Sequence[LaneRow], wanted: Sequence[LaneRow]) -> Memory:
        place = {row.lane: number for number, row in enumerate(rows)}
        numbers = [place[row.lane] for row in wanted]
        return memory.reorder(torch.tensor(numbers, device=memory.device))


class _Column(LaneBatch):
    """A column of `LaneColumns`."""

    unrolled = True

    def __init__(self, columns: LaneColumns, number: int):
        super().__init__(columns.memories, columns.columns[number])
        self._columns, self._number = columns, number

    def read(self, reader: Hashable, like: Tensor) -> Memory | None:
        memory = self._columns.read(reader, self._number)
        return None if memory is None else memory.to(like.device)

    def write(self, reader: Hashable, memory: Memory) -> None:
        self._columns.write(reader, self._number, memory)


def join_memories(rows: Sequence[Memory | None]) -> Memory | None:
    """Rows of one each as the rows of one memory; None is an empty row, and the result of such."""
    some = next((row for row in rows if row is not None), None)
    if some is None:
        return None
    kind: Any = type(some)
    return kind.join(rows)
