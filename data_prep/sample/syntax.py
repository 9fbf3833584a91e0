"""Syntax trees shared by both languages; `english` and `german` say how each one is written.

A tree knows nothing of word order or inflection: it holds bilingual words and their relations.
"""

from __future__ import annotations

from dataclasses import dataclass

from .lexicon.adjectives import COLOURS, Adjective
from .lexicon.nouns import Noun
from .lexicon.verbs import Modal, Verb
from .surface import COMMA


@dataclass(frozen=True, slots=True)
class Determiner:
    """`pattern` is the German declension: definite, der, ein, quantifier or none."""

    english: str
    english_plural: str
    german: str
    pattern: str

    @property
    def is_definite(self) -> bool:
        return self.pattern in ("definite", "der") or self.german in POSSESSIVE_STEMS


POSSESSIVE_STEMS = frozenset({"mein", "sein", "ihr", "unser"})

THE = Determiner("the", "the", "der", "definite")
A = Determiner("a", "", "ein", "ein")
BARE = Determiner("", "", "", "none")
NO = Determiner("no", "no", "kein", "ein")
THIS = Determiner("this", "these", "dies", "der")
MY = Determiner("my", "my", "mein", "ein")
HIS = Determiner("his", "his", "sein", "ein")
HER = Determiner("her", "her", "ihr", "ein")
OUR = Determiner("our", "our", "unser", "ein")
THEIR = Determiner("their", "their", "ihr", "ein")
MANY = Determiner("", "many", "viel", "quantifier")
SOME = Determiner("", "some", "einig", "quantifier")
SEVERAL = Determiner("", "several", "mehrer", "quantifier")
FEW = Determiner("", "few", "wenig", "quantifier")
ALL = Determiner("", "all", "all", "der")


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """A noun with its determiner, number word or digits, adjectives, owner and relative clause."""

    noun: Noun
    determiner: Determiner = THE
    plural: bool = False
    adjectives: tuple[Adjective, ...] = ()
    count: tuple[str, str] | None = None
    owner: NounPhrase | Name | None = None  # genitive: das Dach des Hauses
    relative: Clause | None = None  # a clause with one `Gap`


@dataclass(frozen=True, slots=True)
class Name:
    """A person's name, with Mr or Mrs when `title` is set; `sex` is m or f."""

    text: str
    sex: str
    title: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Two persons joined by *and*; always plural."""

    first: Name | NounPhrase
    second: Name | NounPhrase


@dataclass(frozen=True, slots=True)
class Pronoun:
    """A personal pronoun named by its English subject form.

    ``it`` needs its `antecedent`, whose gender German follows.  `distance` is how many sentences
    back that noun is named: 0 is this sentence, so that only 1 and more need context.
    """

    word: str
    antecedent: Noun | None = None
    distance: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """The place in a relative clause that the relative pronoun fills."""

    noun: Noun
    plural: bool
    whose: Noun | None = None  # set for *whose* + this noun: dessen Hund


@dataclass(frozen=True, slots=True)
class Interrogative:
    """who (subject or object) or what (object)."""

    word: str


Nominal = NounPhrase | Name | Pair | Pronoun | Gap | Interrogative


@dataclass(frozen=True, slots=True)
class Prepositional:
    """A preposition in both languages with the case that German asks for here."""

    english: str
    german: str
    case: str
    nominal: Nominal


@dataclass(frozen=True, slots=True)
class Adverbial:
    """A fixed phrase or a prepositional one; `slot` orders it in the clause.

    Slots: opener, time, frequency, manner, place, direction, measure, agent.
    """

    slot: str
    words: tuple[str, str] | None = None
    phrase: Prepositional | None = None


@dataclass(frozen=True, slots=True)
class Subordinate:
    """A conjunction with a verb-final clause: because, weil."""

    english: str
    german: str
    clause: Clause


@dataclass(frozen=True, slots=True)
class Infinitive:
    """A *to* infinitive (zu); with `purpose` it is *in order to* (um zu)."""

    clause: Clause
    purpose: bool = False


@dataclass(frozen=True, slots=True)
class Predicate:
    """A predicate adjective with an optional degree adverb."""

    adjective: Adjective
    degree: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """Everything one verb governs.

    `tense` is present, past, perfect, pluperfect or future.  `fronted` comes first and makes
    German main clauses invert; it is for main clauses only.  The subject of an infinitive serves
    agreement only and is not written.
    """

    subject: Nominal
    verb: Verb
    tense: str = "past"
    direct: Nominal | None = None
    indirect: Nominal | None = None
    oblique: Prepositional | None = None
    predicate: Predicate | None = None
    adverbials: tuple[Adverbial, ...] = ()
    modal: Modal | None = None
    negated: bool = False
    passive: bool = False
    fronted: Adverbial | Subordinate | Infinitive | None = None
    complement: Subordinate | Infinitive | None = None
    trailing: Subordinate | Infinitive | None = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """Main clauses joined by conjunctions, or one question (`kind` is ``question``).

    `question_word` is empty for yes-no questions and for who and what, which stand in the clause;
    otherwise an adverb pair such as (where, wo).
    """

    clauses: tuple[Clause, ...]
    conjunctions: tuple[tuple[str, str], ...] = ()
    kind: str = "statement"
    question_word: tuple[str, str] | None = None


def person_of(nominal: Nominal) -> str:
    """Grammatical person for agreement: 1s, 3s, 1p or 3p (*you* is the polite Sie, 3p)."""
    match nominal:
        case Pronoun(word=word):
            return {"I": "1s", "we": "1p", "you": "3p", "they": "3p"}.get(word, "3s")
        case Gap(whose=Noun()):
            return "3s"
        case NounPhrase(plural=plural) | Gap(plural=plural):
            return "3p" if plural else "3s"
        case Pair():
            return "3p"
        case _:
            return "3s"


def adjective_words(phrase: NounPhrase, forms: list[str]) -> list[str]:
    """The written adjectives, with a comma between equals but none before a colour."""
    words: list[str] = []
    for adjective, form in zip(phrase.adjectives, forms, strict=True):
        if words and adjective.english not in COLOURS:
            words.append(COMMA)
        words.append(form)
    return words


def is_definite(nominal: Nominal | None) -> bool:
    """Whether German negates the clause with nicht (definite object) rather than kein."""
    if isinstance(nominal, NounPhrase):
        return nominal.determiner.is_definite or nominal.owner is not None
    return True
