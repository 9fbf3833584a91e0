"""Writes documents: sentences in which *it* may refer back to a thing that an earlier one names.

How the antecedent of an *it* is made unambiguous.  A sentence that names exactly one thing in the
singular makes it the *focus*.  Until an *it* refers to the focus, the following sentences name
persons, cities and things in the plural only; a sentence that names another thing ends the focus.
Within its own sentence nothing in the singular is named before the *it*.  So a reader of the
document has one candidate, and a reader of the sentence has none.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from . import english, german
from .combinations import Policy, held_out, pairs
from .dice import Dice
from .english import Mentions
from .frames import personal
from .grammar import Grammar
from .lexicon.adjectives import BY_KIND
from .lexicon.nouns import THING_KINDS, Noun
from .lexicon.verbs import find
from .phrases import UNLIMITED, Drawer, Room
from .syntax import Clause, Nominal, Predicate, Pronoun, Sentence, Subordinate

MIN_WORDS, MAX_WORDS = 3, 60
MIN_SENTENCES, MAX_SENTENCES = 5, 15
MAX_DISTANCE = 5  # sentences from a noun to an it that means it
FREE_TO_REPEAT = 4  # words; longer sentences of training appear in no other split

# (weight, lowest, highest) number of words a sentence aims at; it may have a few more or less.
_AIMS = (
    (11, 3, 5),
    (20, 6, 8),
    (24, 9, 11),
    (17, 12, 15),
    (12, 16, 21),
    (7, 22, 30),
    (4, 31, 42),
    (3, 43, 54),
)
# Neutral sentences between the antecedent and the sentence that refers to it.
_GAPS = ((58, 0), (20, 1), (13, 2), (9, 3))
_QUESTIONS = 0.05
_FREE = 0.62  # chance of another free sentence before the next focus
_REFER_AGAIN = 0.35
_ATTEMPTS = 200
_BE = find("be", "sein")


@dataclass(frozen=True, slots=True)
class PronounRecord:
    """One German form of *it*: what it must be, and why.

    `position` counts the words of the German line from 0; `distance` is the number of sentences
    back to the antecedent's last naming (0: the same sentence).
    """

    position: int
    pronoun: str
    alternatives: tuple[str, ...]
    antecedent: str
    gender: str
    case: str
    distance: int


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence pair of a document."""

    english: str
    german: str
    pronouns: tuple[PronounRecord, ...]
    tree: Sentence

    @property
    def needs_context(self) -> bool:
        return any(record.distance > 0 for record in self.pronouns)


def written(tree: Sentence) -> tuple[Line, Mentions]:
    """Both languages of a tree, with its pronoun records."""
    english_line, mentions = english.sentence(tree)
    german_line, referring = german.sentence(tree)
    records = tuple(
        PronounRecord(
            position,
            str(token),
            tuple(sorted(set(german.PERSONAL_FORMS[token.case]) - {str(token)})),
            token.noun.german,
            token.noun.gender,
            token.case,
            token.distance,
        )
        for position, token in referring
    )
    return Line(english_line, german_line, records, tree), mentions


class DocumentWriter:
    """Writes one document; `forbidden` holds English lines that it must not repeat.

    No sentence has more than `longest` words in either language.

    The genders of its antecedents are the digits of `number` to the base 3: over the documents of
    a split every order of genders comes equally often, and none tells anything of the next.
    """

    def __init__(
        self,
        dice: Dice,
        training: bool,
        forbidden: Container[str],
        number: int = 0,
        longest: int = MAX_WORDS,
    ) -> None:
        self._dice = dice
        self._training = training
        self._forbidden = forbidden
        self._draw = Drawer(dice, Policy(training, dice))
        self._grammar = Grammar(self._draw)
        self._lines: list[Line] = []
        self._gender_digits = number
        self._longest = longest
        self._aims = [(w, (low, min(high, longest))) for w, low, high in _AIMS if low <= longest]
        self._focus: Noun | None = None
        self._distance = 0  # sentences since the focus was last named

    def write(self) -> list[Line]:
        """The document's lines."""
        length = self._dice.between(MIN_SENTENCES, MAX_SENTENCES)
        while len(self._lines) < length:
            self._focus = None
            while self._dice.chance(_FREE):
                self._add(self._free, UNLIMITED)
            self._add(self._introduction, UNLIMITED)
            self._gender_digits //= 3
            self._refer_back()
        return self._lines[:length]

    def _refer_back(self) -> None:
        """Neutral sentences and references to the focus, until it ends or is too far back."""
        while self._focus is not None:
            for _ in range(self._dice.weighted(_GAPS)):
                self._add(self._neutral, 0)
            if self._distance > MAX_DISTANCE:
                return
            self._add(self._reference, 1 if self._dice.chance(0.25) else 0)
            if not self._dice.chance(_REFER_AGAIN):
                return

    def _add(self, draw: Callable[[int], Sentence | None], things: int) -> None:
        """Draw until a sentence passes every check, then keep it."""
        for _ in range(_ATTEMPTS):
            low, high = self._dice.weighted(self._aims)
            self._draw.things_left = things
            self._draw.used.clear()
            tree = draw(self._dice.between(low, high))
            if tree is None:
                continue
            line, mentions = written(tree)
            if self._accepts(line, mentions, things):
                self._keep(line, mentions)
                return
        raise RuntimeError(f"no sentence passed its checks in {_ATTEMPTS} attempts")

    def _accepts(self, line: Line, mentions: Mentions, things: int) -> bool:
        sizes = [len(text.split(" ")) for text in (line.english, line.german)]
        if min(sizes) < MIN_WORDS or max(sizes) > self._longest:
            return False
        if len(mentions.things) > things or not self._reads_clearly(line, mentions):
            return False
        if sizes[0] > FREE_TO_REPEAT and line.english in self._forbidden:
            return False
        return not self._training or not any(held_out(*pair) for pair in pairs(line.tree))

    def _reads_clearly(self, line: Line, mentions: Mentions) -> bool:
        """No thing is named between the antecedent and its last *it*."""
        items = mentions.items
        if "it" not in items:
            return True
        last = len(items) - 1 - items[::-1].index("it")
        named = [item for item in items[:last] if item != "it"]
        return not named if line.needs_context else len(named) == 1

    def _keep(self, line: Line, mentions: Mentions) -> None:
        self._lines.append(line)
        things = mentions.things
        if things:
            asked = line.tree.kind == "question" or any(c.negated for c in line.tree.clauses)
            self._focus = things[0] if len(things) == 1 and not asked else None
            if any(record.distance for record in line.pronouns):
                self._focus = None
            self._distance = 0
        self._distance += 1
        subject = line.tree.clauses[-1].subject
        self._grammar.last_person = subject if personal(subject) else None

    # Kinds of sentence

    def _free(self, words: int) -> Sentence | None:
        if self._dice.chance(_QUESTIONS):
            return self._grammar.question(min(words, 9))
        return self._grammar.statement(words)

    def _neutral(self, words: int) -> Sentence | None:
        return self._grammar.statement(min(words, 20))

    def _introduction(self, words: int) -> Sentence | None:
        """Names one thing; at times says more about it in the same sentence."""
        kind = self._dice.pick(THING_KINDS)
        if kind == "part":
            return None
        noun = self._draw.noun((kind,), "", "mfn"[self._gender_digits % 3])
        if noun is None:
            return None
        again = words >= 9 and self._dice.chance(0.4)

        def first(room: Room) -> Clause | None:
            thing = self._draw.singular(noun, room)
            self._draw.things_left = 0
            clause = self._about(thing, kind, room)
            return self._with_reason(clause, Pronoun("it", noun)) if again and clause else clause

        tree = self._grammar.statement(words, first)
        return tree if tree and not any(c.negated for c in tree.clauses) else None

    def _with_reason(self, clause: Clause, pronoun: Pronoun) -> Clause | None:
        """bought the lamp because it was cheap; bought it because it was cheap."""
        noun = pronoun.antecedent
        if noun is None or clause.trailing or clause.predicate or clause.complement:
            return None
        adjective = self._dice.pick(BY_KIND[noun.kind])
        tense = "past" if self._draw.past else "present"
        said = Clause(pronoun, _BE, tense, predicate=Predicate(adjective))
        words = self._dice.pick((("because", "weil"), ("although", "obwohl")))
        return replace(clause, trailing=Subordinate(*words, said))

    def _reference(self, words: int) -> Sentence | None:
        """Speaks of the focus as *it*, in a main clause or in a *that* clause."""
        noun = self._focus
        if noun is None:
            return None
        pronoun = Pronoun("it", noun, self._distance)
        embed = words >= 9 and self._dice.chance(0.2)
        again = words >= 8 and not embed and self._dice.chance(0.2)

        def first(room: Room) -> Clause | None:
            if embed:
                room.take(4)
            clause = self._about(pronoun, noun.kind, room)
            if again and clause and not clause.trailing:
                return self._with_reason(clause, pronoun)
            return self._said(clause, room) if embed and clause else clause

        return self._grammar.statement(words, first)

    def _said(self, clause: Clause, room: Room) -> Clause | None:
        """The teacher said that it ...; the reported clause stays as it is."""
        words = (("say", "sagen"), ("believe", "glauben"), ("notice", "bemerken"))
        verb = find(*self._dice.pick(words), "that")
        speaker = self._grammar.subject(verb, room)
        tense = "past" if self._draw.past else "present"
        return Clause(speaker, verb, tense, complement=Subordinate("that", "dass", clause))

    def _about(self, nominal: Nominal, kind: str, room: Room) -> Clause | None:
        grammar = self._grammar
        reserve = grammar.reserve(room, 0)
        room.take(4)
        clause = grammar.about(nominal, kind, grammar.main_tense(), room, 0)
        return clause and grammar.grow(clause, room, reserve, 0)
