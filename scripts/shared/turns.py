"""Whose turn it is: contenders that are timed side by side, in an order that rotates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Contender = TypeVar("Contender")


def turns(contenders: Sequence[Contender], rounds: int) -> Iterator[Contender]:
    """Each of them once a round; the first of a round is the second of the round before."""
    for number in range(rounds):
        shift = number % len(contenders)
        yield from contenders[shift:]
        yield from contenders[:shift]
