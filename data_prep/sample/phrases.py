"""Draws the small parts of sentences: nouns, persons, times, places.

A `Drawer` belongs to one document.  Two allowances keep *it* unambiguous: `things_left` says how
many more things in the singular the present sentence may name, and `room` how many words it may
still spend.
"""

from __future__ import annotations

from .combinations import Policy, held_out
from .dice import Dice
from .lexicon import adverbs, names
from .lexicon.adjectives import BY_KIND, COLOURS, DEGREES, OPPOSITES, Adjective
from .lexicon.nouns import COMPOUNDS, KIN, NOUNS, PERSON_KINDS, Noun
from .lexicon.verbs import Verb
from .syntax import (
    ALL,
    BARE,
    FEW,
    HER,
    HIS,
    MANY,
    MY,
    OUR,
    SEVERAL,
    SOME,
    THE,
    THEIR,
    THIS,
    A,
    Adverbial,
    Determiner,
    Name,
    Nominal,
    NounPhrase,
    Pair,
    Predicate,
    Prepositional,
    Pronoun,
)

UNLIMITED = 99
SURFACES = ("Tisch", "Stuhl", "Bank", "Bett", "Regal", "Sofa", "Kommode", "Schreibtisch")
CONTAINERS = ("Koffer", "Korb", "Eimer", "Tasche", "Kiste", "Fass", "Schüssel")
_QUANTIFIERS = (MANY, SOME, SEVERAL, FEW, ALL)
_POSSESSIVES = (MY, HIS, HER, OUR, THEIR)
_BY_GENDER = {
    kind: {
        gender: tuple(noun for noun in nouns if noun.gender == gender)
        for gender in "mfn"
        if any(noun.gender == gender for noun in nouns)
    }
    for kind, nouns in NOUNS.items()
}
_BY_NAME = {noun.german: noun for nouns in NOUNS.values() for noun in nouns}


class Room:
    """Words that a part of a sentence may still spend; an aim, not a bound."""

    def __init__(self, words: int) -> None:
        self.left = words

    def take(self, words: int) -> bool:
        """Spend words if there are so many."""
        if self.left < words:
            return False
        self.left -= words
        return True

    def part(self, words: int) -> Room:
        """Give some words away to a smaller part."""
        self.left -= words
        return Room(words)


class Drawer:
    """Draws phrases for one document whose basic tense is past or present."""

    def __init__(self, dice: Dice, policy: Policy) -> None:
        self.dice = dice
        self.policy = policy
        self.past = dice.chance(0.65)
        self.things_left = UNLIMITED
        self.used: set[str] = set()  # persons the present sentence names already
        self.cast = self._draw_cast()

    # Persons

    def _draw_cast(self) -> list[Name | NounPhrase]:
        """Two to four persons who run through the document."""
        cast: list[Name | NounPhrase] = []
        for _ in range(self.dice.between(2, 4)):
            cast.append(self.new_person())
        return cast

    def new_person(self) -> Name | NounPhrase:
        """A name or a person such as *the teacher*, *my brother*."""
        sex = self.dice.pick("mf")
        if self.dice.chance(0.4):
            first = names.MEN if sex == "m" else names.WOMEN
            if self.dice.chance(0.3):
                return Name(self.dice.pick(names.FAMILIES), sex, title=True)
            return Name(self.dice.pick(first), sex)
        noun = self.dice.pick(NOUNS["man" if sex == "m" else "woman"])
        kin = noun.german in KIN
        return NounPhrase(noun, self.dice.pick(_POSSESSIVES) if kin else THE)

    def person_key(self, person: Nominal) -> str:
        """What makes two persons the same."""
        return person.noun.german if isinstance(person, NounPhrase) else str(person)

    def person(self, word: str, room: Room, *, plural: bool = True) -> Nominal:
        """A person this sentence does not name yet; may grow by adjectives."""
        kind = self.dice.weighted([(6, "cast"), (2, "new"), (2 * plural, "many"), (plural, "pair")])
        if kind == "pair":
            return self._pair()
        for _ in range(8):
            if kind == "many":
                found: Nominal = self._persons(word, room)
            else:
                found = self.dice.pick(self.cast) if kind == "cast" else self.new_person()
            key = self.person_key(found)
            if key not in self.used and self._fits(word, found):
                self.used.add(key)
                return self._described(found, room)
            kind = "new"
        return Pronoun("they")

    def _fits(self, word: str, person: Nominal) -> bool:
        if not isinstance(person, NounPhrase):
            return True
        return bool(self.policy.allow([person.noun], lambda noun: held_out(word, noun)))

    def _described(self, person: Nominal, room: Room) -> Nominal:
        if not isinstance(person, NounPhrase) or person.adjectives:
            return person
        determiner = person.determiner
        if determiner == THE and self.dice.chance(0.15):
            determiner = A
        elif determiner == THE and self.dice.chance(0.06):
            determiner = THIS
        adjectives = self.adjectives(person.noun, room, 0.25)
        return NounPhrase(person.noun, determiner, person.plural, adjectives, person.count)

    def _persons(self, word: str, room: Room) -> NounPhrase:
        kind = self.dice.pick(PERSON_KINDS)
        noun = self.dice.pick([noun for noun in NOUNS[kind] if noun.german not in KIN])
        determiner, count = self._plural_determiner()
        return NounPhrase(noun, determiner, True, (), count)

    def _pair(self) -> Nominal:
        first, second = self.new_name(), self.new_name()
        return Pair(first, second) if first != second else Pronoun("they")

    def new_name(self) -> Name:
        sex = self.dice.pick("mf")
        return Name(self.dice.pick(names.MEN if sex == "m" else names.WOMEN), sex)

    # Things

    def noun(self, kinds: tuple[str, ...], word: str, gender: str = "") -> Noun | None:
        """A noun of one of the kinds, of the `gender` if given and else of any, all alike."""
        by_gender = _BY_GENDER[self.dice.pick(kinds)]
        nouns = by_gender[gender or self.dice.pick(sorted(by_gender))]
        options = self.policy.allow(nouns, lambda noun: held_out(word, noun))
        if not options:
            return None
        noun = self.dice.pick(options)
        compounds = COMPOUNDS.get(noun.german)
        return self.dice.pick(compounds) if compounds and self.dice.chance(0.35) else noun

    def thing(self, kinds: tuple[str, ...], word: str, room: Room) -> NounPhrase | None:
        """A phrase for a thing, in the plural where no more singular ones are allowed."""
        noun = self.noun(kinds, word)
        if noun is None:
            return None
        plural = self.things_left < 1 or self.dice.chance(0.22)
        if plural:
            determiner, count = self._plural_determiner()
            return NounPhrase(noun, determiner, True, self.adjectives(noun, room, 0.45), count)
        return self.singular(noun, room)

    def singular(self, noun: Noun, room: Room) -> NounPhrase:
        """One thing, named with an article or an owner."""
        self.things_left -= 1
        adjectives = self.adjectives(noun, room, 0.5)
        owner = None
        determiner: Determiner = self.dice.weighted(
            [(6, THE), (4, A), (1, THIS), (1, self.dice.pick(_POSSESSIVES))]
        )
        ownable = determiner is THE and noun.kind not in ("room", "part") and room.left > 2
        if ownable and self.dice.chance(0.3):
            owner = self.new_person()
        if noun.kind == "part" and self.things_left > 0 and room.take(3):
            self.things_left -= 1
            owner, determiner = NounPhrase(self.dice.pick(NOUNS["building"])), THE
        return NounPhrase(noun, determiner, False, adjectives, None, owner)

    def _plural_determiner(self) -> tuple[Determiner, tuple[str, str] | None]:
        if self.dice.chance(0.35):
            digits = str(self.dice.between(13, 980))
            small = self.dice.chance(0.6)
            count = self.dice.pick(names.NUMBERS) if small else (digits, digits)
            return (THE if self.dice.chance(0.2) else BARE), count
        if self.dice.chance(0.35):
            return self.dice.pick(_QUANTIFIERS), None
        return self.dice.weighted([(5, THE), (2, BARE), (1, THIS), (1, MY)]), None

    def adjectives(self, noun: Noun, room: Room, probability: float) -> tuple[Adjective, ...]:
        """None, one or two adjectives that go with the noun."""
        found: list[Adjective] = []
        for _ in range(2):
            if not self.dice.chance(probability) or not room.take(1):
                break
            adjective = self.adjective(noun)
            if adjective and all(_go_together(adjective, other) for other in found):
                found.append(adjective)
            probability *= 0.35
        return in_order(found)

    def adjective(self, noun: Noun) -> Adjective | None:
        """An adjective for the noun that the split allows."""
        options = self.policy.allow(
            BY_KIND[noun.kind], lambda adjective: held_out(adjective.german, noun)
        )
        return self.dice.pick(options) if options else None

    def predicate(self, noun: Noun | None, kind: str, room: Room) -> Predicate | None:
        """very old; `noun` is None where a pronoun or a name is described."""
        adjective = self.adjective(noun) if noun else self.dice.pick(BY_KIND[kind])
        if adjective is None:
            return None
        degree = self.dice.pick(DEGREES) if self.dice.chance(0.45) and room.take(1) else None
        return Predicate(adjective, degree)

    # Adverbials

    def time(self, tense: str) -> Adverbial | None:
        """A time that the tense allows: none with the perfect."""
        if tense in ("perfect", "pluperfect"):
            return None
        special = {"past": adverbs.PAST_TIMES, "future": adverbs.FUTURE_TIMES}
        kind = self.dice.weighted([(4, "special"), (3, "any"), (2, "number"), (1, "event")])
        if kind == "special":
            return fixed("time", self.dice.pick(special.get(tense, adverbs.PRESENT_TIMES)))
        if kind == "number" and tense == "past":
            return fixed("time", self._number_time())
        if kind == "event" and self.things_left > 0:
            return self._event_time()
        return fixed("time", self.dice.pick(adverbs.ANY_TIMES))

    def _number_time(self) -> tuple[str, str]:
        month, day, count = (
            self.dice.pick(names.MONTHS),
            self.dice.pick(names.DAYS),
            self.dice.pick(names.NUMBERS),
        )
        number, year = self.dice.between(1, 28), self.dice.between(1950, 2024)
        hour, minute = self.dice.between(1, 23), self.dice.between(10, 59)
        return self.dice.pick(
            (
                (f"on {number} {month[0]} {year}", f"am {number}. {month[1]} {year}"),
                (f"in {year}", f"im Jahr {year}"),
                (f"in {month[0]} {year}", f"im {month[1]} {year}"),
                (f"at {hour}:{minute}", f"um {hour}:{minute} Uhr"),
                (f"on {day[0]}", f"am {day[1]}"),
                (f"on {day[0]} at {hour}:{minute}", f"am {day[1]} um {hour}:{minute} Uhr"),
                (f"{count[0]} years ago", f"vor {count[1]} Jahren"),
                (f"{count[0]} days ago", f"vor {count[1]} Tagen"),
            )
        )

    def _event_time(self) -> Adverbial:
        self.things_left -= 1
        noun = self.dice.pick(NOUNS["event"])
        english, german, case = self.dice.pick(
            (
                ("during", "während", "gen"),
                ("after", "nach", "dat"),
                ("before", "vor", "dat"),
                ("because of", "wegen", "gen"),
                ("despite", "trotz", "gen"),
            )
        )
        return Adverbial("time", phrase=Prepositional(english, german, case, NounPhrase(noun)))

    def place(self, verb: Verb | None = None) -> Adverbial:
        """Where: in a city, in a room, behind a building."""
        if self.things_left < 1 or self.dice.chance(0.35):
            english, german = self.dice.pick(names.CITIES)
            return fixed("place", (f"in {english}", f"in {german}"))
        self.things_left -= 1
        if verb and verb.base in ("lie", "sit") and self.dice.chance(0.5):
            surface = _BY_NAME[self.dice.pick(SURFACES)]
            return spot("place", "on", "auf", "dat", surface)
        if self.dice.chance(0.3) and not (verb and verb.lemma == "wohnen"):
            english, german = self.dice.pick(
                (("behind", "hinter"), ("in front of", "vor"), ("next to", "neben"))
            )
            return spot("place", english, german, "dat", self.dice.pick(NOUNS["building"]))
        kind = "building" if self.dice.chance(0.25) else "room"
        noun = self.dice.pick([n for n in NOUNS[kind] if n.german not in ("Turm",)])
        return spot("place", "at" if noun.german in _AT else "in", *_at_or_in(noun), noun)

    def direction(self, verb: Verb) -> Adverbial:
        """Where to: to a city, into a room, onto a table (for verbs of putting)."""
        if verb.frame == "put":
            self.things_left -= 1
            if self.dice.chance(0.35):
                container = _BY_NAME[self.dice.pick(CONTAINERS)]
                return spot("direction", "into", "in", "acc", container)
            english, german = self.dice.pick(
                (("on", "auf"), ("on", "auf"), ("under", "unter"), ("next to", "neben"))
            )
            surface = _BY_NAME[self.dice.pick(SURFACES)]
            return spot("direction", english, german, "acc", surface)
        kind = self.dice.weighted(
            [(3, "city"), (3 * (self.things_left > 0), "room"), (2, "person")]
        )
        if kind == "city":
            english, german = self.dice.pick(names.CITIES)
            return fixed("direction", (f"to {english}", f"nach {german}"))
        if kind == "room":
            self.things_left -= 1
            return spot("direction", "into", "in", "acc", self.dice.pick(NOUNS["room"]))
        person = self.person(verb.lemma, Room(0), plural=False)
        return Adverbial("direction", phrase=Prepositional("to", "zu", "dat", person))

    def manner(self) -> Adverbial:
        return fixed("manner", self.dice.pick(adverbs.MANNERS))

    def price(self, slot: str) -> Adverbial:
        """for 35 euros; 1,250 euros; 12.50 euros."""
        euros, cents = self.dice.between(3, 95), self.dice.between(10, 95)
        thousands, rest = self.dice.between(1, 9), self.dice.between(100, 999)
        amounts = (
            (str(euros), str(euros)),
            (f"{euros}.{cents}", f"{euros},{cents}"),
            (f"{thousands},{rest}", f"{thousands}.{rest}"),
            (str(rest), str(rest)),
        )
        english, german = self.dice.pick(amounts)
        preposition = ("for ", "für ") if slot == "manner" else ("", "")
        words = (f"{preposition[0]}{english} euros", f"{preposition[1]}{german} Euro")
        return fixed(slot, words)


def _go_together(first: Adjective, second: Adjective) -> bool:
    opposites = frozenset((first.english, second.english)) in OPPOSITES
    return first != second and first.german != second.german and not opposites


def in_order(adjectives: list[Adjective]) -> tuple[Adjective, ...]:
    """Colours stand last and there is one at most: small red."""
    colours = [item for item in adjectives if item.english in COLOURS]
    return (*(item for item in adjectives if item.english not in COLOURS), *colours[:1])


_AT = ("Bahnhof", "Flughafen")


def _at_or_in(noun: Noun) -> tuple[str, str]:
    return ("an", "dat") if noun.german in _AT else ("in", "dat")


def fixed(slot: str, words: tuple[str, str]) -> Adverbial:
    """An adverbial of fixed words."""
    return Adverbial(slot, words=words)


def spot(slot: str, english: str, german: str, case: str, noun: Noun) -> Adverbial:
    """An adverbial of a preposition and *the* noun."""
    return Adverbial(slot, phrase=Prepositional(english, german, case, NounPhrase(noun)))
