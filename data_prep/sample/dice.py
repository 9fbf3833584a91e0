"""Random choices that are the same on every Python version.

Only ``random.Random(str).random()`` is used, whose sequence Python keeps stable; the choices on
top of it are ours.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A source of choices, seeded by a string.

    With `few`, not 0, one is picked of the first so many options only: a language of few words.
    """

    def __init__(self, seed: str, few: int = 0) -> None:
        self._random = random.Random(seed).random
        self._few = few

    def first(self, options: Sequence[T]) -> Sequence[T]:
        """The options that one is picked of."""
        return options[: self._few] if self._few else options

    def below(self, bound: int) -> int:
        """A whole number from 0 to `bound` - 1."""
        return int(self._random() * bound)

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, all alike."""
        options = self.first(options)
        return options[self.below(len(options))]

    def weighted(self, options: Iterable[tuple[float, T]]) -> T:
        """One of (weight, option) by weight."""
        listed = list(options)
        left = self._random() * sum(weight for weight, _ in listed)
        for weight, option in listed:
            left -= weight
            if left < 0:
                return option
        return listed[-1][1]
