"""Draws whole sentences: statements of about so many words, and questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .frames import personal
from .growth import ClauseDrawer
from .lexicon import adverbs
from .lexicon.verbs import (
    BY_FRAME,
    STATES,
    Verb,
)
from .phrases import Room, fixed
from .syntax import (
    Clause,
    Infinitive,
    Interrogative,
    Nominal,
    NounPhrase,
    Pronoun,
    Sentence,
)

_FRONTED = frozenset(
    {"because", "although", "when", "if", "while", "before", "after", "as soon as"}
)


class Grammar(ClauseDrawer):
    """Joins clauses to sentences."""

    def fronted_at_times(self, clause: Clause) -> Clause:
        """Move an adverbial or an adverbial clause to the front, or open with an adverb."""
        if clause.fronted is not None:
            return clause
        if clause.trailing is not None and self.dice.chance(0.4):
            moved = clause_in_front(clause)
            if moved is not None:
                return moved
        for item in clause.adverbials:
            if item.slot == "time" and self.dice.chance(0.35):
                left = tuple(other for other in clause.adverbials if other is not item)
                return replace(clause, fronted=item, adverbials=left)
        if self.dice.chance(0.12):
            words = self.dice.pick(adverbs.OPENERS)
            if clause.tense == "past" or words[0] not in adverbs.PAST_OPENERS:
                return replace(clause, fronted=fixed("opener", words))
        return clause

    def statement(
        self, words: int, first: Callable[[Room], Clause | None] | None = None
    ) -> Sentence | None:
        """A sentence of about so many words; `first` draws its first clause if given."""
        parts = 1
        if words >= 14 and self.dice.chance(0.3):
            parts = 2
        if words >= 30 and self.dice.chance(0.6):
            parts = self.dice.pick((2, 3))
        clauses = []
        for index in range(parts):
            room = Room(words // parts)
            draw = first if first and index == 0 else self._main
            clause = draw(room)
            if clause is None:
                return None
            clauses.append(self.fronted_at_times(clause))
        joints = [
            self.dice.weighted([(3, ("and", "und")), (1, ("but", "aber"))]) for _ in clauses[1:]
        ]
        return Sentence(tuple(clauses), tuple(joints))

    def _main(self, room: Room) -> Clause | None:
        clause = self.clause(self.main_tense(), room, 0)
        return clause

    def question(self, words: int) -> Sentence | None:
        """A short question about a person's doings."""
        room = Room(max(words, 4))
        kind = self.dice.weighted([(3, "yes-no"), (2, "adverb"), (2, "who"), (2, "what")])
        room.take(4)
        if kind == "what":
            verb = self.verb(BY_FRAME["acc"], None, "text", "objects")
            clause = self._asked_what(verb, room) if verb else None
        else:
            subject = Interrogative("who") if kind == "who" else None
            clause = self._asked_clause(room, subject)
        if clause is None:
            return None
        word = self.dice.pick((("where", "wo"), ("when", "wann"), ("why", "warum")))
        if (
            kind == "adverb"
            and word[0] == "where"
            and (clause.verb.lemma in STATES or clause.adverbials)
        ):
            word = ("why", "warum")
        return Sentence((clause,), (), "question", word if kind == "adverb" else None)

    def _asked_what(self, verb: Verb, room: Room) -> Clause:
        subject = self.asked(verb, room)
        return Clause(subject, verb, self.plain_tense(), direct=Interrogative("what"))

    def asked(self, verb: Verb, room: Room) -> Nominal:
        if not self.draw.past and self.dice.chance(0.4):
            return Pronoun("you")
        return self.draw.person(verb.lemma, room)

    def _asked_clause(self, room: Room, subject: Nominal | None) -> Clause | None:
        frame = self.dice.pick(("acc", "dat", "dat+acc", "direction"))
        verb = self.verb(BY_FRAME[frame], None, "man", "subjects")
        if verb is None:
            return None
        return self.complete(subject or self.asked(verb, room), verb, self.plain_tense(), room, 1)


def clause_in_front(clause: Clause) -> Clause | None:
    """The clause with its adverbial clause first, where that reads well.

    A person and the pronoun for it change places, so that the name still comes first.
    """
    trailing = clause.trailing
    if isinstance(trailing, Infinitive):
        return replace(clause, fronted=trailing, trailing=None)
    if trailing is None or trailing.english not in _FRONTED:
        return None
    inner, subject = trailing.clause, clause.subject
    if isinstance(inner.subject, Pronoun) and inner.subject == personal(subject):
        if inner.negated or (isinstance(subject, NounPhrase) and subject.relative):
            return None
        trailing = replace(trailing, clause=replace(inner, subject=subject))
        clause = replace(clause, subject=inner.subject)
    return replace(clause, fronted=trailing, trailing=None)
