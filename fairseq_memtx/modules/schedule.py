"""How the longest length allowed grows with the number of updates: plain arithmetic.

A schedule knows nothing of sentences: it can as well drive how many segments or sentences a
recurrent memory is unrolled over. "competence" is that of Platanios et al. 2019 (arXiv 1903.09848,
equations 7 and 8): the share of the data that is allowed grows like a square root.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

#: The limit once the schedule is over: longer than anything.
UNLIMITED = int(np.iinfo(np.int64).max)

#: Shares are quotients of counts: this much rounding must not cost a count.
_ROUNDING = 1e-9

KINDS = ("linear", "root", "stages", "competence")


class LengthDistribution:
    """Which share of the data is no longer than a given length.

    Args:
        lengths: of all items, in any order, at least one.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray):
        self._sorted = np.sort(np.asarray(lengths, dtype=np.int64))
        if len(self._sorted) == 0:
            raise ValueError("there are no lengths: at least one is needed")
        self._sums = np.concatenate(([0], np.cumsum(self._sorted)))

    @property
    def shortest(self) -> int:
        """The smallest length."""
        return int(self._sorted[0])

    @property
    def longest(self) -> int:
        """The largest length."""
        return int(self._sorted[-1])

    def share(self, limit: int) -> float:
        """Share of the items that are no longer than `limit`."""
        return self._count(limit) / len(self._sorted)

    def token_share(self, limit: int) -> float:
        """Share of all tokens that is left when each item is cut to `limit`."""
        count = self._count(limit)
        # Python's integers: the items beyond a limit without end are none, and cannot overflow
        kept = int(self._sums[count]) + (len(self._sorted) - count) * limit
        return kept / int(self._sums[-1])

    def shortest_limit(self, share: float) -> int:
        """The smallest length that allows at least `share`."""
        count = math.ceil(share * len(self._sorted) - _ROUNDING)
        return int(self._sorted[max(count, 1) - 1])

    def longest_limit(self, share: float) -> int:
        """The largest length that allows at most `share`."""
        count = math.floor(share * len(self._sorted) + _ROUNDING)
        return self.longest if count >= len(self._sorted) else int(self._sorted[count]) - 1

    def _count(self, limit: int) -> int:
        return int(np.searchsorted(self._sorted, limit, side="right"))


@dataclass(frozen=True)
class LengthSchedule:
    """The longest length allowed, a function of the number of updates made before.

    Attributes:
        kind: with x = update / updates, between `start` and `end`
            "linear": start + (end - start) x;
            "root": sqrt(start^2 + (end^2 - start^2) x);
            "stages": `stages` equal steps, each for an equal number of updates;
            "competence": the largest length that at most the share
            sqrt(c0^2 + (c1^2 - c0^2) x) of the data keeps to, c0 and c1 being the shares of
            `start` and `end` (c1 = 1 in the paper).
        start, end: lengths, 1 <= start <= end.
        updates: from this update on everything is allowed.
        step: lengths between are rounded down to `start` plus a multiple of this.
        stages: for "stages".
        data: for "competence".

    Raises:
        ValueError: where a value is impossible.
    """

    kind: str
    start: int
    end: int
    updates: int
    step: int = 1
    stages: int = 4
    data: LengthDistribution | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"the kind is {self.kind}: it has to be one of {', '.join(KINDS)}")
        if not 1 <= self.start <= self.end:
            raise ValueError(
                f"the lengths are {self.start} and {self.end}: they have to be at least 1, and the"
                " last one no shorter than the first"
            )
        if self.updates < 1 or self.step < 1 or self.stages < 2:
            raise ValueError("`updates` and `step` have to be at least 1 and `stages` at least 2")
        if self.kind == "competence" and self.data is None:
            raise ValueError("competence needs the lengths of the data")

    def at(self, update: int) -> int:
        """The longest length allowed when `update` updates were made; never shrinks.

        `UNLIMITED` once the schedule is over.
        """
        if update >= self.updates:
            return UNLIMITED
        length = min(self._exact(update), self.end)
        steps = max(0, math.floor(length + _ROUNDING) - self.start) // self.step
        return self.start + steps * self.step

    def until(self, update: int) -> int:
        """The first update after `update` with another limit; only before the schedule's end."""
        limit = self.at(update)
        # The limit never shrinks, so the change is found by bisection.
        below, above = update, self.updates
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self.at(middle) == limit else (below, middle)
        return above

    def _exact(self, update: int) -> float:
        x = update / self.updates
        if self.kind == "linear":
            return self.start + (self.end - self.start) * x
        if self.kind == "root":
            return _root(self.start, self.end, x)
        if self.kind == "stages":
            stage = update * self.stages // self.updates
            return self.start + (self.end - self.start) * stage / (self.stages - 1)
        assert self.data is not None
        return self.data.longest_limit(
            _root(self.data.share(self.start), self.data.share(self.end), x)
        )


def _root(first: float, last: float, x: float) -> float:
    return math.sqrt(first**2 + (last**2 - first**2) * x)
