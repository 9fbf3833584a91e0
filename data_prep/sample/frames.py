"""Draws clauses verb by verb: what each frame of complements asks for.

`FrameDrawer.about` gives a noun or pronoun some part in a clause; `FrameDrawer.personal_clause` has
a person for its subject.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .combinations import held_out
from .lexicon.adjectives import BY_KIND
from .lexicon.nouns import Noun
from .lexicon.verbs import (
    BY_FRAME,
    IN_PASSIVE,
    STATES,
    Verb,
)
from .phrases import Drawer, Room
from .syntax import (
    Adverbial,
    Clause,
    Gap,
    Infinitive,
    Name,
    Nominal,
    NounPhrase,
    Prepositional,
    Pronoun,
    Subordinate,
)

MAX_DEPTH = 4
_OBLIQUE = tuple(verb for frame, verbs in BY_FRAME.items() if "/" in frame for verb in verbs)
_ACTIONS = tuple(verb for verb in BY_FRAME["acc"] if verb.lemma in IN_PASSIVE)
_JOURNEYS = frozenset({"ankommen", "zurückkommen", "gehen", "fahren", "kommen", "laufen"})


def personal(nominal: Nominal) -> Pronoun | None:
    """The pronoun that may stand for a person named before."""
    match nominal:
        case Name(sex=sex):
            return Pronoun("he" if sex == "m" else "she")
        case NounPhrase(noun=noun, plural=plural) if noun.is_person:
            return Pronoun("they" if plural else "he" if noun.kind == "man" else "she")
        case Pronoun(word=word) if word not in ("it", "you"):
            return Pronoun(word)
        case _:
            return None


def noun_of(nominal: Nominal) -> Noun | None:
    """The noun that pairs with verbs and adjectives, if one is named."""
    if isinstance(nominal, Gap):
        return nominal.whose or nominal.noun
    return nominal.noun if isinstance(nominal, NounPhrase) else None


class FrameDrawer:
    """Fills the frames of verbs; the words come from a `Drawer`."""

    def __init__(self, drawer: Drawer) -> None:
        self.draw = drawer
        self.dice = drawer.dice
        self.last_person: Nominal | None = None

    # Tense

    def main_tense(self) -> str:
        if self.draw.past:
            return self.dice.weighted([(88, "past"), (12, "perfect")])
        return self.dice.weighted([(74, "present"), (14, "perfect"), (12, "future")])

    def inner_tense(self) -> str:
        if self.draw.past:
            return self.dice.weighted([(7, "past"), (3, "pluperfect")])
        return self.dice.weighted([(7, "present"), (3, "perfect")])

    def plain_tense(self) -> str:
        return "past" if self.draw.past else "present"

    # Verbs

    def verb(self, verbs: tuple[Verb, ...], noun: Noun | None, kind: str, side: str) -> Verb | None:
        """A verb that takes the kind of noun as its ``subjects`` or ``objects``."""
        fitting = [verb for verb in verbs if kind in getattr(verb, side)]
        if noun is not None:
            fitting = list(self.draw.policy.allow(fitting, lambda verb: held_out(verb.lemma, noun)))
        return self.dice.pick(fitting) if fitting else None

    # Clauses about a given nominal

    def about(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        """A clause in which `nominal`, of a semantic `kind`, has any part that it can have."""
        person = kind in ("man", "woman")
        roles: list[tuple[float, Callable[..., Clause | None]]] = [
            (3, self._describing),
            (4 if person else 2, self._acting),
            (5, self._undergoing),
            (1.5, self._given),
            (1, self._in_dative),
        ]
        if not person:
            roles += [(1.5, self._passive), (1, self._put)]
        if isinstance(nominal, Pronoun):
            roles.append((0.6, self._done_without))
        else:
            roles.append((1, self._in_oblique))
        for _ in range(6):
            clause = self.dice.weighted(roles)(nominal, kind, tense, room, depth)
            if clause is not None:
                return clause
        return None

    def _describing(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        noun = noun_of(nominal)
        verb = self.verb(BY_FRAME["adj"][:1] * 3 + BY_FRAME["adj"][1:], noun, kind, "subjects")
        if verb is None or kind not in BY_KIND:
            return None
        if verb.lemma != "werden" and tense in ("perfect", "pluperfect", "future"):
            tense = self.plain_tense()
        predicate = self.draw.predicate(noun, kind, room)
        if predicate is None:
            return None
        return Clause(nominal, verb, tense, predicate=predicate)

    def _acting(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        frames = ("none", "place", "measure", "direction", "dat", "acc", "acc")
        frame = self.dice.pick(frames)
        verb = self.verb(BY_FRAME[frame], noun_of(nominal), kind, "subjects")
        return self.complete(nominal, verb, tense, room, depth) if verb else None

    def _undergoing(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        verb = self.verb(BY_FRAME["acc"], noun_of(nominal), kind, "objects")
        if verb is None or "man" not in verb.subjects:
            return None
        return Clause(self.subject(verb, room), verb, tense, direct=nominal)

    def _in_dative(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        verb = self.verb(BY_FRAME["dat"], noun_of(nominal), kind, "objects")
        if verb is None or "man" not in verb.subjects:
            return None
        return Clause(self.subject(verb, room), verb, tense, direct=nominal)

    def _given(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        verb = self.verb(BY_FRAME["dat+acc"], noun_of(nominal), kind, "objects")
        if verb is None:
            return None
        giver = self.subject(verb, room)
        receiver = self.draw.person(verb.lemma, room)
        return Clause(giver, verb, tense, direct=nominal, indirect=receiver)

    def _passive(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        verb = self.verb(_ACTIONS, noun_of(nominal), kind, "objects")
        if verb is None:
            return None
        agent: tuple[Adverbial, ...] = ()
        if room.take(4) and self.dice.chance(0.4):
            by = Prepositional("by", "von", "dat", self.draw.person(verb.lemma, room))
            agent = (Adverbial("agent", phrase=by),)
        return Clause(nominal, verb, self.plain_tense(), passive=True, adverbials=agent)

    def _put(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        verb = self.verb(BY_FRAME["put"], noun_of(nominal), kind, "objects")
        if verb is None or self.draw.things_left < 1:
            return None
        place = self.draw.direction(verb)
        return Clause(self.subject(verb, room), verb, tense, direct=nominal, adverbials=(place,))

    def _in_oblique(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        verb = self.verb(_OBLIQUE, noun_of(nominal), kind, "objects")
        if verb is None or "man" not in verb.subjects:
            return None
        return Clause(self.subject(verb, room), verb, tense, oblique=oblique(verb, nominal))

    def _done_without(
        self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int
    ) -> Clause | None:
        """came back without it: the one preposition whose pronoun German keeps for things."""
        if kind not in ("object", "vessel", "vehicle", "animal", "text", "clothing"):
            return None
        moves = [v for v in (*BY_FRAME["none"], *BY_FRAME["direction"]) if v.with_sein]
        verb = self.dice.pick([v for v in moves if v.lemma in _JOURNEYS])
        without = Prepositional("without", "ohne", "acc", nominal)
        clause = self.complete(self.subject(verb, room), verb, tense, room, depth)
        if clause is None:
            return None
        return replace(clause, adverbials=(*clause.adverbials, Adverbial("manner", phrase=without)))

    # Clauses about persons

    def subject(self, verb: Verb, room: Room) -> Nominal:
        """A person; *I*, *we* or a pronoun for the last one at times."""
        choice = self.dice.weighted([(80, "named"), (4, "I"), (4, "we"), (12, "again")])
        again = personal(self.last_person) if self.last_person is not None else None
        if choice in ("I", "we"):
            return self._speaker(choice)
        if choice == "again" and again is not None:
            self.draw.used.add(self.draw.person_key(self.last_person))  # type: ignore[arg-type]
            return again
        return self.draw.person(verb.lemma, room)

    def _speaker(self, word: str) -> Pronoun:
        self.draw.used.update(("I", "we"))
        return Pronoun(word)

    def personal_clause(
        self, tense: str, room: Room, depth: int, subject: Nominal | None = None
    ) -> Clause | None:
        """A clause whose subject is a person."""
        inner = room.left >= 10 and depth < MAX_DEPTH
        things = self.draw.things_left > 0
        frame = self.dice.weighted(
            [
                (24, "acc"),
                (7, "none"),
                (8, "adj"),
                (6, "dat"),
                (7, "dat+acc"),
                (8, "oblique"),
                (4, "place"),
                (7, "direction"),
                (3 * things, "put"),
                (12 * inner, "that"),
                (4 * inner, "dat+that"),
                (5 * inner, "whether"),
                (7 * inner, "to"),
            ]
        )
        verbs = _OBLIQUE if frame == "oblique" else BY_FRAME[frame]
        noun = noun_of(subject) if subject is not None else None
        kind = noun.kind if noun is not None else "man"
        verb = self.verb(verbs, noun, kind, "subjects")
        if verb is None:
            return None
        return self.complete(subject or self.subject(verb, room), verb, tense, room, depth)

    def complete(
        self, subject: Nominal, verb: Verb, tense: str, room: Room, depth: int
    ) -> Clause | None:
        """Fill the verb's frame."""
        noun = noun_of(subject)
        frame = verb.frame
        clause = Clause(subject, verb, tense)
        if frame in ("acc", "dat"):
            direct = self.object(verb, verb.objects, room)
            return replace(clause, direct=direct) if direct else None
        if "/" in frame:
            found = self.object(verb, verb.objects, room)
            return replace(clause, oblique=oblique(verb, found)) if found else None
        if frame in ("dat+acc", "put"):
            return self._two_objects(clause, room)
        if frame == "adj":
            return self._describing(subject, noun.kind if noun else "man", tense, room, depth)
        if frame == "measure":
            return replace(clause, adverbials=(self.draw.price("measure"),))
        if frame in ("place", "direction"):
            place = self.draw.place(verb) if frame == "place" else self.draw.direction(verb)
            return replace(clause, adverbials=(place,))
        if frame == "none":
            return clause
        return self._with_complement(clause, room, depth)

    def _two_objects(self, clause: Clause, room: Room) -> Clause | None:
        verb = clause.verb
        direct = self.draw.thing(verb.objects, verb.lemma, room)
        if direct is None:
            return None
        if verb.frame == "put":
            if self.draw.things_left < 1:
                return None
            place = self.draw.direction(verb)
            return replace(clause, direct=direct, adverbials=(place,))
        return replace(clause, direct=direct, indirect=self.draw.person(verb.lemma, room))

    def object(self, verb: Verb, kinds: tuple[str, ...], room: Room) -> Nominal | None:
        """An object: a person or a thing as the verb takes them, at times a personal pronoun."""
        kind = self.dice.pick(kinds)
        if kind in ("man", "woman"):
            if self.dice.chance(0.2):
                return self._other_pronoun()
            return self.draw.person(verb.lemma, room)
        return self.draw.thing((kind,), verb.lemma, room)

    def _other_pronoun(self) -> Pronoun:
        """me, us or them, whichever cannot be the subject."""
        if "I" in self.draw.used or "we" in self.draw.used:
            return Pronoun("they")
        self.draw.used.update(("I", "we"))
        return Pronoun(self.dice.pick(("I", "we")))

    def _with_complement(self, clause: Clause, room: Room, depth: int) -> Clause | None:
        verb = clause.verb
        inner = room.part(max(5, room.left * 2 // 3))
        if verb.frame == "to":
            return self._with_infinitive(clause, inner, depth)
        receiver = self.draw.person(verb.lemma, room) if verb.frame == "dat+that" else None
        words = ("whether", "ob") if verb.frame == "whether" else ("that", "dass")
        embedded = self.clause(self.inner_tense(), inner, depth + 1, before=clause.subject)
        if embedded is None:
            return None
        return replace(clause, indirect=receiver, complement=Subordinate(*words, embedded))

    def _with_infinitive(self, clause: Clause, inner: Room, depth: int) -> Clause | None:
        embedded = self.unsaid(clause.subject, inner, depth)
        return embedded and replace(clause, complement=Infinitive(embedded))

    def unsaid(self, subject: Nominal, room: Room, depth: int) -> Clause | None:
        """A clause for an infinitive: what its subject does is an action with an object."""
        frame = self.dice.pick(("acc", "acc", "dat+acc", "direction", "dat"))
        verbs = [v for v in BY_FRAME[frame] if "man" in v.subjects and v.lemma not in STATES]
        verb = self.dice.pick(verbs)
        noun = noun_of(subject)
        if noun is not None and noun.kind not in verb.subjects:
            return None
        return self.complete(subject, verb, "present", room, depth + 1)

    def clause(
        self, tense: str, room: Room, depth: int, before: Nominal | None = None
    ) -> Clause | None:
        """Any clause for an embedded place; `growth.ClauseDrawer` has it."""
        raise NotImplementedError


def oblique(verb: Verb, nominal: Nominal) -> Prepositional:
    """The prepositional object of a verb such as auf/acc/for."""
    german, case, english = verb.frame.split("/")
    return Prepositional(english, german, case, nominal)
