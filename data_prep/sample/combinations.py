"""Which pairs of words training may see: a hash keeps one in ten for validation and test.

A pair is a noun with a verb or an adjective that takes it.  The hash knows no seed, so that a
corpus of any seed is a fair test for a model trained on one of another.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

from .dice import Dice
from .lexicon.nouns import Noun
from .syntax import Clause, Gap, Name, NounPhrase, Pair, Sentence, Subordinate

T = TypeVar("T")

HELD_OUT_OF = 10  # one pair in so many
PREFERENCE = 0.4  # how often validation and test choose a held-out pair where there is one


def held_out(word: str, noun: Noun) -> bool:
    """Whether the pair of a German verb or adjective and a (head) noun is kept from training."""
    return _hashed_out(word, noun.head)


@cache
def _hashed_out(word: str, head: str) -> bool:
    return zlib.crc32(f"{word} {head}".encode()) % HELD_OUT_OF == 0


class Policy:
    """Filters candidates for one split; `training` forbids held-out pairs, others prefer them."""

    def __init__(self, training: bool, dice: Dice) -> None:
        self._training = training
        self._dice = dice

    def allow(self, options: Sequence[T], is_held_out: Callable[[T], bool]) -> Sequence[T]:
        """The options to choose from; may be empty in training."""
        options = self._dice.first(options)
        if self._training:
            return [option for option in options if not is_held_out(option)]
        if self._dice.chance(PREFERENCE):
            kept = [option for option in options if is_held_out(option)]
            return kept or options
        return options


def pairs(tree: Sentence) -> set[tuple[str, Noun]]:
    """Every pair of a verb or adjective and a noun in a sentence."""
    found: set[tuple[str, Noun]] = set()
    for clause in tree.clauses:
        _clause_pairs(clause, found)
    return found


def _clause_pairs(clause: Clause, found: set[tuple[str, Noun]]) -> None:
    oblique = clause.oblique.nominal if clause.oblique else None
    for item in (clause.subject, clause.direct, oblique):
        if not isinstance(item, NounPhrase | Gap):
            continue
        noun = item.whose or item.noun if isinstance(item, Gap) else item.noun
        found.add((clause.verb.lemma, noun))
        if clause.predicate:
            found.add((clause.predicate.adjective.german, noun))
    phrases = [item.phrase.nominal for item in clause.adverbials if item.phrase]
    front = clause.fronted
    if front is not None and not isinstance(front, Subordinate):
        phrase = getattr(front, "phrase", None)
        phrases += [phrase.nominal] if phrase else []
    for item in (clause.subject, clause.direct, clause.indirect, oblique, *phrases):
        _nominal_pairs(item, found)
    for embedded in (front, clause.complement, clause.trailing):
        inner = getattr(embedded, "clause", None)
        if inner is not None:
            _clause_pairs(inner, found)


def _nominal_pairs(item: object, found: set[tuple[str, Noun]]) -> None:
    if isinstance(item, Pair):
        _nominal_pairs(item.first, found)
        _nominal_pairs(item.second, found)
    if not isinstance(item, NounPhrase):
        return
    found.update((adjective.german, item.noun) for adjective in item.adjectives)
    if not isinstance(item.owner, Name):
        _nominal_pairs(item.owner, found)
    if item.relative:
        _clause_pairs(item.relative, found)
