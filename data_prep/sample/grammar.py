"""Draws whole sentences: which verb, which complements, which clauses inside which.

`Grammar.sentence` aims at a number of words; clauses nest until the room is spent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from data_prep.sample.combinations import held_out
from data_prep.sample.lexicon import adverbs
from data_prep.sample.lexicon.adjectives import BY_KIND
from data_prep.sample.lexicon.nouns import THING_KINDS, Noun
from data_prep.sample.lexicon.verbs import BY_FRAME, IN_PASSIVE, MODALS, OF_MANNER, STATES, Verb
from data_prep.sample.phrases import Drawer, Room, fixed
from data_prep.sample.syntax import (
    Adverbial,
    Clause,
    Gap,
    Infinitive,
    Interrogative,
    Name,
    NounPhrase,
    Nominal,
    Prepositional,
    Pronoun,
    Sentence,
    Subordinate,
)

MAX_DEPTH = 4
_OBLIQUE = tuple(verb for frame, verbs in BY_FRAME.items() if "/" in frame for verb in verbs)
_ACTIONS = tuple(verb for verb in BY_FRAME["acc"] if verb.lemma in IN_PASSIVE)
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
_FRONTED = frozenset({"because", "although", "when", "if", "while", "before", "after", "as soon as"})


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


class Grammar:
    """Draws clauses and sentences by means of a `Drawer`."""

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
            fitting = list(
                self.draw.policy.allow(fitting, lambda verb: held_out(verb.lemma, noun))
            )
        return self.dice.pick(fitting) if fitting else None

    # Clauses about a given nominal

    def about(self, nominal: Nominal, kind: str, tense: str, room: Room, depth: int) -> Clause | None:
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

    def _describing(self, nominal, kind, tense, room, depth) -> Clause | None:
        noun = noun_of(nominal)
        verb = self.verb(BY_FRAME["adj"][:1] * 3 + BY_FRAME["adj"][1:], noun, kind, "subjects")
        if verb is None or kind not in BY_KIND:
            return None
        if verb.lemma != "werden" and tense in ("perfect", "pluperfect", "future"):
            tense = self.plain_tense()
        predicate = self.draw.predicate(noun, kind, room)
        return predicate and Clause(nominal, verb, tense, predicate=predicate)

    def _acting(self, nominal, kind, tense, room, depth) -> Clause | None:
        frames = ("none", "place", "measure", "direction", "dat", "acc", "acc")
        frame = self.dice.pick(frames)
        verb = self.verb(BY_FRAME[frame], noun_of(nominal), kind, "subjects")
        return verb and self.complete(nominal, verb, tense, room, depth)

    def _undergoing(self, nominal, kind, tense, room, depth) -> Clause | None:
        verb = self.verb(BY_FRAME["acc"], noun_of(nominal), kind, "objects")
        if verb is None or "man" not in verb.subjects:
            return None
        return Clause(self.subject(verb, room), verb, tense, direct=nominal)

    def _in_dative(self, nominal, kind, tense, room, depth) -> Clause | None:
        verb = self.verb(BY_FRAME["dat"], noun_of(nominal), kind, "objects")
        if verb is None or "man" not in verb.subjects:
            return None
        return Clause(self.subject(verb, room), verb, tense, direct=nominal)

    def _given(self, nominal, kind, tense, room, depth) -> Clause | None:
        verb = self.verb(BY_FRAME["dat+acc"], noun_of(nominal), kind, "objects")
        if verb is None:
            return None
        giver = self.subject(verb, room)
        receiver = self.draw.person(verb.lemma, room)
        return Clause(giver, verb, tense, direct=nominal, indirect=receiver)

    def _passive(self, nominal, kind, tense, room, depth) -> Clause | None:
        verb = self.verb(_ACTIONS, noun_of(nominal), kind, "objects")
        if verb is None:
            return None
        agent: tuple[Adverbial, ...] = ()
        if room.take(4) and self.dice.chance(0.4):
            by = Prepositional("by", "von", "dat", self.draw.person(verb.lemma, room))
            agent = (Adverbial("agent", phrase=by),)
        return Clause(nominal, verb, self.plain_tense(), passive=True, adverbials=agent)

    def _put(self, nominal, kind, tense, room, depth) -> Clause | None:
        verb = self.verb(BY_FRAME["put"], noun_of(nominal), kind, "objects")
        if verb is None or self.draw.things_left < 1:
            return None
        place = self.draw.direction(verb)
        return Clause(self.subject(verb, room), verb, tense, direct=nominal, adverbials=(place,))

    def _in_oblique(self, nominal, kind, tense, room, depth) -> Clause | None:
        verb = self.verb(_OBLIQUE, noun_of(nominal), kind, "objects")
        if verb is None or "man" not in verb.subjects:
            return None
        return Clause(self.subject(verb, room), verb, tense, oblique=oblique(verb, nominal))

    def _done_without(self, nominal, kind, tense, room, depth) -> Clause | None:
        """came back without it: the one preposition whose pronoun German keeps for things."""
        if kind not in ("object", "vessel", "vehicle", "animal", "text", "clothing"):
            return None
        verb = self.verb(BY_FRAME["none"][:], None, "man", "subjects")
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

    def complete(self, subject: Nominal, verb: Verb, tense: str, room: Room, depth: int) -> Clause | None:
        """Fill the verb's frame."""
        noun = noun_of(subject)
        frame = verb.frame
        clause = Clause(subject, verb, tense)
        if frame in ("acc", "dat"):
            direct = self.object(verb, verb.objects, room)
            return direct and replace(clause, direct=direct)
        if "/" in frame:
            found = self.object(verb, verb.objects, room)
            return found and replace(clause, oblique=oblique(verb, found))
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

    # Growth

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
            return thing and self.about(thing, kind, tense, room, depth)
        return self.personal_clause(tense, room, depth)

    def reserve(self, room: Room, depth: int) -> Room | None:
        """Room for an adverbial clause, taken before anything else spends it."""
        if room.left < 11 or depth >= MAX_DEPTH or not self.dice.chance(0.6):
            return None
        return room.part(max(6, room.left // 2))

    def grow(self, clause: Clause, room: Room, reserve: Room | None, depth: int) -> Clause:
        """Add modal, negation, relative clauses, adverbials and an adverbial clause."""
        clause = self._coloured(clause)
        clause = self._with_relatives(clause, room, depth)
        clause = self._with_adverbials(clause, room)
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
        return clause

    def _may_negate(self, clause: Clause) -> bool:
        """Only definite subjects, and objects that nicht or a plain kein can negate."""
        others = [clause.indirect, clause.oblique.nominal if clause.oblique else None]
        if not all(_simple(item) for item in (clause.subject, *others)):
            return False
        direct = clause.direct
        plain = isinstance(direct, NounPhrase) and not direct.count and direct.determiner.german in (
            "ein",
            "",
        )
        plain = plain and clause.verb.case == "acc"
        known = clause.verb.frame not in ("measure", "to", "that", "dat+that")
        modal = clause.modal is None or clause.modal.style != "aux" or clause.modal.present == "can"
        return known and modal and (plain or _simple(direct))

    def _with_relatives(self, clause: Clause, room: Room, depth: int) -> Clause:
        """Relative clauses on subject or object."""
        for name in ("direct", "subject", "oblique", "indirect"):
            item = getattr(clause, name)
            phrase = item.nominal if name == "oblique" and item else item
            if not isinstance(phrase, NounPhrase) or phrase.relative or phrase.owner:
                continue
            if room.left < 7 or depth >= MAX_DEPTH or not self.dice.chance(0.45):
                continue
            if phrase.determiner.german in ("mein", "unser", "ihr", "sein"):
                continue
            limit = 9 if name == "subject" else 14
            inner = room.part(min(limit, max(6, room.left * 2 // 3)))
            relative = self.relative(phrase, inner, depth + 1)
            if relative is None:
                continue
            grown = replace(phrase, relative=relative)
            value = replace(item, nominal=grown) if name == "oblique" else grown
            clause = replace(clause, **{name: value})
        return clause

    def relative(self, phrase: NounPhrase, room: Room, depth: int) -> Clause | None:
        """A clause with a gap for the noun of `phrase`."""
        gap = Gap(phrase.noun, phrase.plural)
        tense = self.inner_tense()
        reserve = self.reserve(room, depth + 1)
        room.take(4)
        clause = self.about(gap, phrase.noun.kind, tense, room, depth)
        return clause and self.grow(clause, room, reserve, depth)

    def _with_adverbials(self, clause: Clause, room: Room) -> Clause:
        verb = clause.verb
        added: list[Adverbial] = []
        taken = {item.slot for item in clause.adverbials}
        if room.left >= 2 and self.dice.chance(0.5) and not clause.modal:
            time = self.draw.time(clause.tense)
            if time is not None and room.take(2):
                added.append(time)
        if room.left >= 1 and self.dice.chance(0.2) and self._takes_frequency(clause, added):
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
        return simple and not clause.negated and not added and clause.verb.base != "be"

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
        if effect == "earlier" and embedded.tense not in ("pluperfect", "perfect"):
            english, german = "because", "weil"
        return replace(clause, trailing=Subordinate(english, german, embedded))

    # Sentences

    def fronted_at_times(self, clause: Clause) -> Clause:
        """Move an adverbial or an adverbial clause to the front, or open with an adverb."""
        trailing = clause.trailing
        if trailing is not None and self.dice.chance(0.4):
            if isinstance(trailing, Infinitive) or trailing.english in _FRONTED:
                return replace(clause, fronted=trailing, trailing=None)
        for item in clause.adverbials:
            if item.slot == "time" and self.dice.chance(0.35):
                left = tuple(other for other in clause.adverbials if other is not item)
                return replace(clause, fronted=item, adverbials=left)
        if self.dice.chance(0.12):
            words = self.dice.pick(adverbs.OPENERS)
            if clause.tense == "past" or words[0] not in adverbs.PAST_OPENERS:
                return replace(clause, fronted=fixed("opener", words))
        return clause

    def statement(self, words: int, first: Callable[[Room], Clause | None] | None = None) -> Sentence | None:
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
            clause = verb and Clause(self.asked(verb, room), verb, self.plain_tense())
            clause = clause and replace(clause, direct=Interrogative("what"))
        else:
            subject = Interrogative("who") if kind == "who" else None
            clause = self._asked_clause(room, subject)
        if clause is None:
            return None
        word = self.dice.pick((("where", "wo"), ("when", "wann"), ("why", "warum")))
        if kind == "adverb" and word[0] == "where" and (
            clause.verb.lemma in STATES or clause.adverbials
        ):
            word = ("why", "warum")
        return Sentence((clause,), (), "question", word if kind == "adverb" else None)

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


_JOURNEYS = frozenset({"ankommen", "zurückkommen", "gehen", "fahren", "kommen", "laufen"})


def oblique(verb: Verb, nominal: Nominal) -> Prepositional:
    """The prepositional object of a verb such as auf/acc/for."""
    german, case, english = verb.frame.split("/")
    return Prepositional(english, german, case, nominal)


def _simple(item: Nominal | None) -> bool:
    """Definite and not quantified, so that plain *not* and nicht say the same."""
    if isinstance(item, NounPhrase):
        return item.determiner.pattern == "definite" or item.owner is not None
    return not isinstance(item, Interrogative)
