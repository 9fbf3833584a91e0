"""Documents in lanes: which sentence of which document comes in which batch.

A lane is a document that advances sentence by sentence, and after its end another one. Whoever
keeps a memory for each lane, and empties it where a document begins, so has that of the document.

More lanes are open than a batch has rows. A batch takes the lanes whose next sentences are about as
long, so that little of it is padding. It is built around the lane that has waited longest or, where
one document may well outlast all others, around that, so that a pass does not end with many batches
of a single row.

In training a lane may advance by several sentences at once, its turn, for gradients to go back
through them. The columns of a batch are then the first, second, ... sentences of its lanes' turns;
each column is padded by itself.
"""

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import mul
from typing import NamedTuple

import numpy as np

#: Lanes for each row of a batch: more make padding rarer and take more memory.
LANES_A_ROW = 8


class Place(NamedTuple):
    """A row of a batch: the number of its sentence, and the lane it stands in.

    A lane that advances by several sentences has as many places in a batch, one after the other.
    """

    sentence: int
    lane: int


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch may be; at least one of the two is given.

    Attributes:
        sentences: rows at most, or None.
        tokens: rows times the longest sentence at most, or None; of several columns all together.
            What is longer by itself has a batch of its own.
    """

    sentences: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if self.sentences is None and self.tokens is None:
            raise ValueError("a batch needs a limit of sentences or of tokens")

    def allow(self, rows: int, slots: int) -> bool:
        """Whether a batch of more than one row, and so many padded places, may be."""
        few = self.sentences is None or rows <= self.sentences
        return few and (self.tokens is None or slots <= self.tokens)

    def usual_rows(self, lengths: np.ndarray, unroll: int = 1) -> int:
        """Rows of a batch of turns of `unroll` sentences of mean length."""
        by_tokens = None
        if self.tokens is not None and len(lengths) > 0:
            by_tokens = max(1, int(self.tokens / max(1.0, unroll * float(lengths.mean()))))
        found = [rows for rows in (self.sentences, by_tokens) if rows is not None]
        return min(found, default=1)


@dataclass(frozen=True)
class Documents:
    """Numbered sentences, document after document.

    Attributes:
        sentences: `(n,)`, the numbers of the sentences.
        bounds: where each document begins among them, and where the last one ends.
    """

    sentences: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        """How many documents."""
        return len(self.bounds) - 1

    @classmethod
    def of_ids(cls, ids: Sequence[str]) -> "Documents":
        """Equal ids in a row are one document; a blank one is a document of its own."""
        begins = [
            number == 0 or not one or one != ids[number - 1] for number, one in enumerate(ids)
        ]
        starts = np.flatnonzero(begins)
        return cls(np.arange(len(ids)), np.append(starts, len(ids)).astype(np.int64))

    @classmethod
    def of_sizes(cls, sizes: Sequence[int] | np.ndarray) -> "Documents":
        """Documents of so many sentences each, numbered through."""
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(np.arange(bounds[-1]), bounds)

    def only(self, kept: np.ndarray) -> "Documents":
        """The documents without the sentences that are not among the numbers `kept`."""
        stays = np.isin(self.sentences, kept)
        numbers = np.repeat(np.arange(len(self)), np.diff(self.bounds))[stays]
        sizes = np.bincount(numbers, minlength=len(self))
        return Documents(self.sentences[stays], Documents.of_sizes(sizes[sizes > 0]).bounds)

    def previous(self, size: int) -> np.ndarray:
        """`(size,)`: for each sentence the one before it in its document, -1 for none."""
        before = np.full(size, -1, dtype=np.int64)
        before[self.sentences[1:]] = self.sentences[:-1]
        before[self.sentences[self.bounds[:-1]]] = -1
        return before

    def shared_out(self, order: np.ndarray, ranks: int) -> list[np.ndarray]:
        """The documents of each rank: each goes to the rank with fewest sentences so far.

        Args:
            order: the documents' numbers in the order in which they are dealt out.
            ranks: how many.
        """
        if ranks == 1:
            return [order]
        sizes = np.diff(self.bounds)
        loads = [(0, rank) for rank in range(ranks)]
        dealt: list[list[int]] = [[] for _ in range(ranks)]
        for number in order.tolist():
            load, rank = loads[0]
            dealt[rank].append(number)
            heapq.heapreplace(loads, (load + int(sizes[number]), rank))
        return [np.array(numbers, dtype=np.int64) for numbers in dealt]


@dataclass(frozen=True)
class Turns:
    """How many sentences of its document a lane takes at once.

    Attributes:
        size: of a turn; fewer where the document ends.
        first: `(documents,)`, the sizes of each document's first turn, from 1 to `size`; None for
            `size`. Drawn anew in each epoch, they let every two neighbours be in one turn. Of a
            smaller size they are as large a share, rounded up.
        size_at: the size of the turns planned for the batches from this number (from 0) on; None
            for `size` always.
    """

    size: int = 1
    first: np.ndarray | None = None
    size_at: Callable[[int], int] | None = None

    def now(self, batch: int) -> int:
        """The size of a turn that is planned for the batches from this one on."""
        return self.size if self.size_at is None else self.size_at(batch)

    def first_of(self, document: int, batch: int) -> int:
        """The size of a document's first turn."""
        size = self.now(batch)
        return size if self.first is None else -(-size * int(self.first[document]) // self.size)


ONE_BY_ONE = Turns()


class Columns(NamedTuple):
    """Rows and longest sentence of each column of a batch."""

    rows: tuple[int, ...] = ()
    longest: tuple[int, ...] = ()

    def with_turn(self, lengths: Sequence[int]) -> "Columns":
        """The columns with one more lane, whose sentences are so long."""
        both = zip_longest(self.rows, self.longest, lengths, fillvalue=0)
        rows, longest = zip(*((r + (n > 0), max(w, n)) for r, w, n in both), strict=True)
        return Columns(rows, longest)

    @property
    def slots(self) -> int:
        """Padded places of all columns."""
        return sum(map(mul, self.rows, self.longest))


def columns_of(places: Sequence[Place]) -> list[list[Place]]:
    """The columns of a batch: the first, second, ... places of each lane."""
    columns: list[list[Place]] = []
    turns: dict[int, int] = {}
    for place in places:
        column = turns.get(place.lane, 0)
        turns[place.lane] = column + 1
        if column == len(columns):
            columns.append([])
        columns[column].append(place)
    return columns


def plan_batches(
    documents: Documents,
    order: np.ndarray,
    lengths: np.ndarray,
    limits: BatchLimits,
    num_lanes: int,
    turns: Turns = ONE_BY_ONE,
) -> list[list[Place]]:
    """All batches of a pass over the documents, in order.

    A batch has at most one turn of a document, and after the batches with those before it.

    Args:
        documents: what is read.
        order: the numbers of the documents in the order in which lanes take them.
        lengths: of each sentence, by its number.
        limits: of a batch.
        num_lanes: documents that are open at once, at least 1.
        turns: sentences by which a lane advances.
    """
    return list(_Lanes(documents, order, lengths, num_lanes, turns).batches(limits))


class _Lanes:
    """The open documents of a pass.

    Of each lane: `_at`, `_until` and `_end`, where it stands in its document, where its turn and
    where the document ends; `_turn_lengths`, those of the turn's sentences; and `_turn`, the count
    of turns at which it got there. Queues hold turns beside lanes: an entry of an earlier turn is
    out of date.
    """

    def __init__(
        self,
        documents: Documents,
        order: np.ndarray,
        lengths: np.ndarray,
        num_lanes: int,
        turns: Turns,
    ):
        self._sentences, self._bounds = documents.sentences, documents.bounds
        self._coming, self._lengths, self._sizes = iter(order.tolist()), lengths, turns
        self._at, self._until, self._end = ([0] * num_lanes for _ in range(3))
        self._turn_lengths: list[list[int]] = [[] for _ in range(num_lanes)]
        self._turn = [-1] * num_lanes
        self._turns = self._number = 0
        self._sentences_left = int(np.diff(documents.bounds)[order].sum())
        self._by_length: list[tuple[int, int]] = []  # length of the lane's turn, lane
        self._by_rest: list[tuple[int, int, int]] = []  # heap: - sentences to come, turn, lane
        self._by_age: deque[tuple[int, int]] = deque()  # turn, lane
        for lane in range(num_lanes):
            self._advance(lane)

    def batches(self, limits: BatchLimits) -> Iterator[list[Place]]:
        total = self._sentences_left
        while self._by_length:
            furthest, rest = self._furthest_from_end()
            # Half of the batches to come or more, where they are as large as those so far.
            done = total - self._sentences_left
            outlasts = 2 * rest * done >= self._sentences_left * self._number
            lanes = self._around(furthest if outlasts else self._oldest(), limits)
            places = [Place(int(one), lane) for lane in lanes for one in self._next(lane)]
            yield places
            self._number += 1
            for lane in lanes:
                self._at[lane] = self._until[lane]
                self._advance(lane)
            self._sentences_left -= len(places)

    def _advance(self, lane: int) -> None:
        """Queue the lane for its next turn, of the next document where this one has ended."""
        size = self._sizes.now(self._number)
        if self._at[lane] == self._end[lane]:
            number = next(self._coming, None)
            if number is None:
                self._turn[lane] = -1
                return
            self._at[lane], self._end[lane] = (int(x) for x in self._bounds[number : number + 2])
            size = self._sizes.first_of(number, self._number)
        self._until[lane] = min(self._at[lane] + size, self._end[lane])
        self._turn[lane] = turn = self._turns
        self._turns += 1
        self._turn_lengths[lane] = self._lengths[self._next(lane)].tolist()
        insort(self._by_length, (sum(self._turn_lengths[lane]), lane))
        heapq.heappush(self._by_rest, (self._at[lane] - self._end[lane], turn, lane))
        self._by_age.append((turn, lane))

    def _next(self, lane: int) -> np.ndarray:
        """The numbers of the sentences of its turn."""
        return self._sentences[self._at[lane] : self._until[lane]]

    def _oldest(self) -> int:
        while True:
            turn, lane = self._by_age[0]
            if self._turn[lane] == turn:
                return lane
            self._by_age.popleft()

    def _furthest_from_end(self) -> tuple[int, int]:
        """The lane with most sentences of its document to come, and how many."""
        while True:
            minus_rest, turn, lane = self._by_rest[0]
            if self._turn[lane] == turn:
                return lane, -minus_rest
            heapq.heappop(self._by_rest)

    def _around(self, anchor: int, limits: BatchLimits) -> list[int]:
        """Take the lane out of the queue with as many neighbours in length as a batch may have."""
        queue, lengths = self._by_length, self._turn_lengths[anchor]
        columns, length = Columns().with_turn(lengths), sum(lengths)
        low = bisect_left(queue, (length, anchor))
        high = low + 1
        while True:
            beside = [i for i in (low - 1, high) if 0 <= i < len(queue)]
            # The nearest in length that is allowed, of two the shorter.
            for i in sorted(beside, key=lambda i: abs(length - queue[i][0])):
                joined = columns.with_turn(self._turn_lengths[queue[i][1]])
                if limits.allow(high - low + 1, joined.slots):
                    columns, low, high = joined, min(low, i), max(high, i + 1)
                    break
            else:
                break
        lanes = [lane for _, lane in queue[low:high]]
        del queue[low:high]
        return lanes


def words_per_slot(batches: Sequence[Sequence[Place]], *sides: np.ndarray) -> float:
    """The share of all places of padded batches that hold a word.

    Args:
        batches: of a pass.
        sides: the length of each sentence by its number, for each text that is padded.
    """
    words = slots = 0
    for column in (column for batch in batches for column in columns_of(batch)):
        numbers = [place.sentence for place in column]
        for lengths in sides:
            here = lengths[numbers]
            words += int(here.sum())
            slots += len(numbers) * int(here.max())
    return words / max(1, slots)
