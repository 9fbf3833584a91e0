"""Short ways to build syntax trees by hand."""

from __future__ import annotations

from data_prep.sample import english, german
from data_prep.sample.lexicon import verbs
from data_prep.sample.lexicon.adjectives import BY_ENGLISH
from data_prep.sample.lexicon.nouns import BY_GERMAN, Noun
from data_prep.sample.syntax import (
    THE,
    Adverbial,
    Clause,
    Determiner,
    NounPhrase,
    Predicate,
    Prepositional,
    Sentence,
    Subordinate,
)


def np(german_noun: str, determiner: Determiner = THE, *adjectives: str, **more) -> NounPhrase:
    """A noun phrase by its German noun and English adjectives."""
    chosen = tuple(BY_ENGLISH[word] for word in adjectives)
    return NounPhrase(BY_GERMAN[german_noun], determiner, adjectives=chosen, **more)


def noun(german_noun: str) -> Noun:
    return BY_GERMAN[german_noun]


def verb(base: str, lemma: str, frame: str | None = None) -> verbs.Verb:
    return verbs.find(base, lemma, frame)


def adverb(slot: str, english_words: str, german_words: str) -> Adverbial:
    return Adverbial(slot, words=(english_words, german_words))


def place(slot: str, english_word: str, german_word: str, case: str, phrase) -> Adverbial:
    return Adverbial(slot, phrase=Prepositional(english_word, german_word, case, phrase))


def described(subject, adjective: str, tense: str = "past", **more) -> Clause:
    predicate = Predicate(BY_ENGLISH[adjective], more.pop("degree", None))
    return Clause(subject, verb("be", "sein"), tense, predicate=predicate, **more)


def because(clause: Clause) -> Subordinate:
    return Subordinate("because", "weil", clause)


def both(tree: Clause | Sentence) -> tuple[str, str]:
    """The tree in English and German."""
    sentence = tree if isinstance(tree, Sentence) else Sentence((tree,))
    return english.sentence(sentence)[0], german.sentence(sentence)[0]
