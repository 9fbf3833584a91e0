"""Grows clauses to their room: modals, negation, adverbials, relative and adverbial clauses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .frames import MAX_DEPTH, FrameDrawer, noun_of, personal
from .lexicon import adverbs
from .lexicon.nouns import KIN, NOUNS, PERSON_KINDS, THING_KINDS
from .lexicon.verbs import (
    MODALS,
    OF_MANNER,
    RECURRENT,
    STATES,
)
from .phrases import Room, fixed
from .syntax import (
    POSSESSIVE_STEMS,
    Adverbial,
    Clause,
    Gap,
    Infinitive,
    Interrogative,
    Name,
    Nominal,
    NounPhrase,
    Pronoun,
    Subordinate,
)

WHOSE = tuple(noun for kind in PERSON_KINDS for noun in NOUNS[kind] if noun.german in KIN)
# Conjunction, and what it does to tense: same, past or present only, earlier, or can.
_CONJUNCTIONS = (
    (5, ("because", "weil", "same")),
    (3, ("although", "obwohl", "same")),
    (3, ("when", "als", "past")),
    (3, ("when", "wenn", "present")),
    (2, ("if", "wenn", "present")),
    (2, ("while", "während", "same")),
    (2, ("before", "bevor", "same")),
    (2, ("after", "nachdem", "earlier")),
    (2, ("so that", "damit", "can")),
    (1, ("as soon as", "sobald", "same")),
    (1, ("until", "bis", "same")),
)


class ClauseDrawer(FrameDrawer):
    """Draws clauses of any size, with clauses inside them."""

    def clause(
        self, tense: str, room: Room, depth: int, before: Nominal | None = None
    ) -> Clause | None:
        """Any clause, grown to its room; `before` is a person who may be *he* or *she* in it."""
        reserve = self.reserve(room, depth)
        room.take(4)
        clause = self._core(tense, room, depth, before)
        return clause and self.grow(clause, room, reserve, depth)

    def _core(self, tense: str, room: Room, depth: int, before: Nominal | None) -> Clause | None:
        again = personal(before) if before is not None else None
        if again is not None and self.dice.chance(0.55):
            return self.personal_clause(tense, room, depth, again)
        if self.dice.chance(0.3):
            kind = self.dice.pick(THING_KINDS)
            thing = self.draw.thing((kind,), "", room)
            return self.about(thing, kind, tense, room, depth) if thing else None
        return self.personal_clause(tense, room, depth)

    def reserve(self, room: Room, depth: int) -> Room | None:
        """Room for an adverbial clause, taken before anything else spends it."""
        if room.left < 11 or depth >= MAX_DEPTH or not self.dice.chance(0.6):
            return None
        return room.part(max(6, room.left // 2))

    def grow(self, clause: Clause, room: Room, reserve: Room | None, depth: int) -> Clause:
        """Add modal, negation, relative clauses, adverbials and an adverbial clause."""
        if clause.tense in ("perfect", "future") and clause.verb.lemma in STATES:
            clause = replace(clause, tense=self.plain_tense())
        clause = self._coloured(clause)
        clause = self._with_relatives(clause, room, depth)
        clause = self._with_adverbials(clause, room, depth)
        if reserve is not None:
            clause = self._with_adverbial_clause(clause, reserve, depth)
        return clause

    def _coloured(self, clause: Clause) -> Clause:
        """A modal verb or a negation, where sense allows one."""
        verb = clause.verb
        plain = clause.tense in ("past", "present") and not clause.passive
        person = isinstance(clause.subject, Name | Pronoun) or bool(
            (noun := noun_of(clause.subject)) and noun.is_person
        )
        if isinstance(clause.subject, Pronoun) and clause.subject.word == "it":
            person = False
        if plain and person and verb.lemma not in STATES and self.dice.chance(0.2):
            clause = replace(clause, modal=MODALS[self.dice.pick(sorted(MODALS))])
        if self._may_negate(clause) and self.dice.chance(0.1):
            clause = replace(clause, negated=True)
            if clause.predicate:  # not very old would be a different thing
                clause = replace(clause, predicate=replace(clause.predicate, degree=None))
        return clause

    def _may_negate(self, clause: Clause) -> bool:
        """Only definite subjects, and objects that nicht or a plain kein can negate."""
        others = [clause.indirect, clause.oblique.nominal if clause.oblique else None]
        if not all(_simple(item) for item in (clause.subject, *others)):
            return False
        direct = clause.direct
        plain = (
            isinstance(direct, NounPhrase)
            and not direct.count
            and direct.determiner.german
            in (
                "ein",
                "",
            )
        )
        plain = plain and clause.verb.case == "acc"
        known = clause.verb.frame not in ("measure", "to", "that", "dat+that")
        modal = clause.modal is None or clause.modal.style != "aux" or clause.modal.present == "can"
        return known and modal and (plain or _simple(direct))

    def _with_relatives(self, clause: Clause, room: Room, depth: int) -> Clause:
        """Relative clauses on subject or object."""
        for name in ("direct", "oblique", "subject"):
            item = getattr(clause, name)
            phrase = item.nominal if name == "oblique" and item else item
            if not isinstance(phrase, NounPhrase) or phrase.relative or phrase.owner:
                continue
            if room.left < 7 or depth >= MAX_DEPTH or not self.dice.chance(0.45):
                continue
            if phrase.determiner.german in POSSESSIVE_STEMS:
                continue
            if name != "subject" and (
                clause.adverbials or (clause.indirect and not _plain_gift(clause))
            ):
                continue
            limit = 9 if name == "subject" else 14
            inner = room.part(min(limit, max(6, room.left * 2 // 3)))
            relative = self.relative(phrase, inner, depth + 1)
            if relative is None:
                continue
            grown = replace(phrase, relative=relative)
            value = replace(item, nominal=grown) if name == "oblique" else grown
            clause = _with_part(clause, name, value)
        return clause

    def relative(self, phrase: NounPhrase, room: Room, depth: int) -> Clause | None:
        """A clause with a gap for the noun of `phrase`."""
        tense = self.inner_tense()
        reserve = self.reserve(room, depth + 1)
        room.take(4)
        if phrase.noun.is_person and self.dice.chance(0.2):
            relation = self.dice.pick(WHOSE)
            gap = Gap(phrase.noun, phrase.plural, whose=relation)
            clause = self.personal_clause(tense, room, depth, gap)
        else:
            gap = Gap(phrase.noun, phrase.plural)
            clause = self.about(gap, phrase.noun.kind, tense, room, depth)
        return clause and self.grow(clause, room, reserve, depth)

    def _with_adverbials(self, clause: Clause, room: Room, depth: int) -> Clause:
        """Adverbials; none but a fronted time beside an object that ends in a relative clause."""
        verb = clause.verb
        added: list[Adverbial] = []
        taken = {item.slot for item in clause.adverbials}
        probability = 0.12 if verb.lemma in STATES else 0.5
        if room.left >= 2 and self.dice.chance(probability) and not clause.modal:
            time = self.draw.time(clause.tense)
            if time is not None and not _clashes(clause, time) and room.take(2):
                added.append(time)
        if _ends_in_relative(clause):
            keep = added if depth == 0 else []
            return replace(clause, fronted=keep[0]) if keep else clause
        frequent = depth == 0 and self._takes_frequency(clause, added)
        if room.left >= 1 and frequent and self.dice.chance(0.25):
            words = adverbs.PERFECT_ADVERBS if clause.tense == "perfect" else adverbs.FREQUENCIES
            room.take(1)
            added.append(fixed("frequency", self.dice.pick(words)))
        quiet = verb.lemma in OF_MANNER and not clause.negated and "manner" not in taken
        if room.left >= 1 and quiet and self.dice.chance(0.35) and room.take(1):
            added.append(self.draw.manner())
        trade = verb.lemma in ("kaufen", "verkaufen") and not clause.negated and not clause.passive
        if trade and room.take(3) and self.dice.chance(0.5):
            added.append(self.draw.price("manner"))
        placed = taken & {"place", "direction", "agent"} or verb.frame in ("adj", "measure", "that")
        if room.left >= 2 and not placed and verb.lemma not in STATES and self.dice.chance(0.35):
            room.take(3)
            added.append(self.draw.place())
        return replace(clause, adverbials=(*clause.adverbials, *added))

    def _takes_frequency(self, clause: Clause, added: list[Adverbial]) -> bool:
        simple = clause.tense in ("past", "present", "perfect") and not clause.passive
        lasting = clause.verb.lemma in STATES - RECURRENT
        return simple and not (clause.negated or added or lasting) and clause.verb.base != "be"

    def _with_adverbial_clause(self, clause: Clause, room: Room, depth: int) -> Clause:
        """Trailing; `fronted_at_times` may move it."""
        if self.dice.chance(0.12) and not clause.passive and personal(clause.subject):
            embedded = self.unsaid(clause.subject, room, depth)
            if embedded is not None and clause.verb.lemma not in STATES:
                return replace(clause, trailing=Infinitive(embedded, purpose=True))
        past = clause.tense in ("past", "pluperfect", "perfect") and self.draw.past
        options = [
            (weight, words)
            for weight, words in _CONJUNCTIONS
            if words[2] not in ("past", "present") or (words[2] == "past") == past
        ]
        english, german, effect = self.dice.weighted(options)
        tense = self.plain_tense()
        if effect == "earlier":
            tense = "pluperfect" if past else "perfect"
        embedded = self.clause(tense, room, depth + 1, before=clause.subject)
        if embedded is None:
            return clause
        if effect == "can":
            if embedded.tense not in ("past", "present") or embedded.passive or embedded.negated:
                return clause
            embedded = replace(embedded, modal=MODALS["can"])
        if english not in ("because", "although", "if"):
            embedded = replace(embedded, negated=False)
        if clause.tense == "perfect" and english not in ("because", "although", "after"):
            clause = replace(clause, tense=self.plain_tense())
        if effect == "earlier" and embedded.tense not in ("pluperfect", "perfect"):
            english, german = "because", "weil"
        return replace(clause, trailing=Subordinate(english, german, embedded))


def _with_part(clause: Clause, name: str, value: Any) -> Clause:
    """The clause with one nominal part exchanged."""
    parts: dict[str, Any] = {name: value}
    return replace(clause, **parts)


def _clashes(clause: Clause, time: Adverbial) -> bool:
    """not ... every day would leave open what is denied."""
    return clause.negated and time.words is not None and time.words[0].startswith("every")


def _plain_gift(clause: Clause) -> bool:
    """give the boy the book: the receiver comes first in both languages."""
    return not clause.verb.particle and clause.verb.base != "explain"


def _ends_in_relative(clause: Clause) -> bool:
    objects = (clause.direct, clause.oblique.nominal if clause.oblique else None)
    return any(isinstance(item, NounPhrase) and item.relative for item in objects)


def _simple(item: Nominal | None) -> bool:
    """Definite and not quantified, so that plain *not* and nicht say the same."""
    if isinstance(item, NounPhrase):
        return item.determiner.pattern == "definite" or item.owner is not None
    return not isinstance(item, Interrogative)
