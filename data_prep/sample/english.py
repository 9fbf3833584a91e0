"""Writes syntax trees as English, and notes in order which things a sentence names."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import morphology
from .lexicon.nouns import Noun
from .surface import COMMA, Tokens, write
from .syntax import (
    Adverbial,
    Clause,
    Gap,
    Infinitive,
    Interrogative,
    Name,
    Nominal,
    NounPhrase,
    Pair,
    Predicate,
    Prepositional,
    Pronoun,
    Sentence,
    Subordinate,
    adjective_words,
    person_of,
)

_OBJECT_FORMS = {"I": "me", "we": "us", "he": "him", "she": "her", "they": "them"}


@dataclass(slots=True)
class Mentions:
    """What may be the antecedent of an *it*, in the order of the English words.

    Each entry is a `Noun` (a thing in the singular) or the string ``it``.
    """

    items: list[Noun | str] = field(default_factory=list)

    @property
    def things(self) -> list[Noun]:
        return [item for item in self.items if isinstance(item, Noun)]


class Writer:
    """Writes one sentence; a new one for each, since it collects `mentions`."""

    def __init__(self) -> None:
        self.mentions = Mentions()

    # Nominals

    def pronoun(self, item: Pronoun, subject: bool) -> Tokens:
        if item.word == "it":
            self.mentions.items.append("it")
        return [item.word if subject else _OBJECT_FORMS.get(item.word, item.word)]

    def name(self, person: Name) -> Tokens:
        if not person.title:
            return [person.text]
        return ["Mr" if person.sex == "m" else "Mrs", person.text]

    def noun_phrase(self, phrase: NounPhrase) -> Tokens:
        words = [phrase.count[0]] if phrase.count else []
        words += adjective_words(phrase, [item.english for item in phrase.adjectives])
        words.append(phrase.noun.english_plural if phrase.plural else phrase.noun.english)
        if self.owner_comes_first(phrase):
            words = self.possessive(phrase.owner) + words
        else:
            words = self.determiner(phrase, words[0]) + words
        if not phrase.plural and not phrase.noun.is_person:
            self.mentions.items.append(phrase.noun)
        if phrase.owner and not self.owner_comes_first(phrase):
            words += ["of", *self.nominal(phrase.owner)]
        if phrase.relative:
            words += self.relative(phrase.relative, phrase.noun)
        return words

    def owner_comes_first(self, phrase: NounPhrase) -> bool:
        """Persons own with 's, things with *of*."""
        owner = phrase.owner
        return isinstance(owner, Name) or (owner is not None and owner.noun.is_person)

    def possessive(self, owner: Nominal | None) -> Tokens:
        """Anna's, the teachers', the men's."""
        assert owner is not None
        words = self.nominal(owner)
        plural = isinstance(owner, NounPhrase) and owner.plural and words[-1].endswith("s")
        return [*words[:-1], words[-1] + ("'" if plural else "'s")]

    def determiner(self, phrase: NounPhrase, following: str) -> Tokens:
        determiner = phrase.determiner
        if determiner.english == "a" and not phrase.plural:
            return [morphology.indefinite_article(following)]
        word = determiner.english_plural if phrase.plural else determiner.english
        return [word] if word else []

    def nominal(self, item: Nominal, subject: bool = False) -> Tokens:
        match item:
            case NounPhrase():
                return self.noun_phrase(item)
            case Name():
                return self.name(item)
            case Pair(first=first, second=second):
                return [*self.nominal(first), "and", *self.nominal(second)]
            case Pronoun():
                return self.pronoun(item, subject)
            case Interrogative(word=word) if subject:
                return [word]
            case _:  # gaps and fronted question words leave nothing behind
                return []

    # Modifiers

    def prepositional(self, phrase: Prepositional) -> Tokens:
        return [phrase.english, *self.nominal(phrase.nominal)]

    def adverbial(self, item: Adverbial) -> Tokens:
        if item.phrase:
            return self.prepositional(item.phrase)
        return [item.words[0]]  # type: ignore[index]

    def predicate(self, item: Predicate) -> Tokens:
        degree = [item.degree[0]] if item.degree else []
        return [*degree, item.adjective.english]

    def relative(self, clause: Clause, noun: Noun) -> Tokens:
        """who bought it; that the man bought; whose dog sleeps."""
        subject = clause.subject
        if isinstance(subject, Gap):
            if subject.whose:
                if not subject.whose.is_person:
                    self.mentions.items.append(subject.whose)
                return ["whose", subject.whose.english, *self.predicate_part(clause)]
            return ["who" if noun.is_person else "that", *self.predicate_part(clause)]
        return ["whom" if noun.is_person else "that", *self.statement(clause)]

    # Clauses

    def embedded(self, item: Subordinate | Infinitive) -> Tokens:
        if isinstance(item, Infinitive):
            head = ["in", "order", "to"] if item.purpose else ["to"]
            return [*head, item.clause.verb.base, *self.after_verb(item.clause)]
        return [item.english, *self.statement(item.clause)]

    def verbs(self, clause: Clause) -> tuple[Tokens, Tokens]:
        """The words before and after the place of *not* and of the subject in questions.

        The first list is empty where English needs a form of *do* for them.
        """
        verb, person, past = clause.verb, person_of(clause.subject), clause.tense == "past"
        if clause.passive:
            return [morphology.english_be(past, person)], [verb.participle]
        if clause.modal:
            return self.modal_verbs(clause, person, past)
        if clause.tense in ("perfect", "pluperfect"):
            have = "has" if person == "3s" else "have"
            return ["had" if clause.tense == "pluperfect" else have], [verb.participle]
        if clause.tense == "future":
            return ["will"], [verb.base]
        if verb.base == "be":
            return [morphology.english_be(past, person)], []
        if past:
            return [], [verb.past]
        return [], [morphology.english_third_person(verb.base) if person == "3s" else verb.base]

    def modal_verbs(self, clause: Clause, person: str, past: bool) -> tuple[Tokens, Tokens]:
        modal = clause.modal
        assert modal is not None
        word = modal.past if past else modal.present
        if modal.style == "aux":
            return [word], [clause.verb.base]
        if modal.style == "be":
            return [morphology.english_be(past, person)], [word, clause.verb.base]
        if person == "3s" and not past:
            word = morphology.english_third_person(word)
        return [], [word, clause.verb.base]

    def split_verbs(self, clause: Clause) -> tuple[str, Tokens]:
        """An auxiliary for certain, with *do* where the verb has none of its own."""
        first, rest = self.verbs(clause)
        if first:
            return first[0], rest
        past, person = clause.tense == "past", person_of(clause.subject)
        do = "did" if past else "does" if person == "3s" else "do"
        base = [clause.modal.present] if clause.modal else []
        return do, [*base, clause.verb.base]

    def middle_adverbs(self, clause: Clause) -> Tokens:
        return [
            item.words[0] for item in clause.adverbials if item.slot == "frequency" and item.words
        ]

    def objects(self, clause: Clause) -> Tokens:
        """Objects with the particle and preposition of the verb.

        A pronoun comes before the particle (turn it off), and before the receiver (give it to
        the boy); full phrases come after both.
        """
        verb, direct, indirect = clause.verb, clause.direct, clause.indirect
        particle = [verb.particle] if verb.particle else []
        preposition = [verb.preposition] if verb.preposition else []
        if indirect is None:
            words = self.nominal(direct) if direct is not None else []
            moves = isinstance(direct, Pronoun) and not preposition
            return words + particle if moves else particle + preposition + words
        if direct is None:  # tell the man that; explain to the man that
            return preposition + self.nominal(indirect)
        if particle or isinstance(direct, Pronoun | Gap) or verb.base == "explain":
            words = self.nominal(direct)
            moves = isinstance(direct, Pronoun)
            words = words + particle if moves else particle + words
            return [*words, "to", *self.nominal(indirect)]
        if isinstance(indirect, Gap):
            return [*self.nominal(direct), "to"]
        return self.nominal(indirect) + self.nominal(direct)

    def after_verb(self, clause: Clause) -> Tokens:
        """Objects, complements and adverbials in English order, then clauses."""
        words = self.objects(clause)
        slots = ("measure", "agent", "direction", "manner", "place", "time")
        if clause.predicate:
            words += self.predicate(clause.predicate)
        if clause.oblique:
            words += self.prepositional(clause.oblique)
        for slot in slots:
            for item in clause.adverbials:
                if item.slot == slot:
                    words += self.adverbial(item)
        for embedded in (clause.complement, clause.trailing):
            if embedded:
                words += self.embedded(embedded)
        return words

    def predicate_part(self, clause: Clause) -> Tokens:
        """Everything but the subject."""
        adverbs = self.middle_adverbs(clause)
        if clause.negated:
            auxiliary, rest = self.split_verbs(clause)
            denied = ["cannot"] if auxiliary == "can" else [auxiliary, "not"]
            return [*denied, *adverbs, *rest, *self.after_verb(clause)]
        first, rest = self.verbs(clause)
        return [*first, *adverbs, *rest, *self.after_verb(clause)]

    def statement(self, clause: Clause) -> Tokens:
        """Front, subject and the rest."""
        words: Tokens = []
        front = clause.fronted
        if isinstance(front, Adverbial):
            words = self.adverbial(front)
            words += [] if words in (["then"], ["now"], ["perhaps"]) else [COMMA]
        elif front is not None:
            words = [*self.embedded(front), COMMA]
        subject = self.nominal(clause.subject, subject=True)
        return [*words, *subject, *self.predicate_part(clause)]

    def question(self, tree: Sentence) -> Tokens:
        clause = tree.clauses[0]
        if isinstance(clause.subject, Interrogative):
            return self.statement(clause)
        front = [tree.question_word[0]] if tree.question_word else []
        if isinstance(clause.direct, Interrogative):
            front = [clause.direct.word]
        auxiliary, rest = self.split_verbs(clause)
        words = [*front, auxiliary, *self.nominal(clause.subject, subject=True)]
        words += self.middle_adverbs(clause) + rest
        return words + self.after_verb(clause)

    def sentence(self, tree: Sentence) -> str:
        """The English line."""
        if tree.kind == "question":
            return write(self.question(tree), "?")[0]
        words = self.statement(tree.clauses[0])
        for conjunction, clause in zip(tree.conjunctions, tree.clauses[1:], strict=True):
            words += [COMMA, conjunction[0], *self.statement(clause)]
        return write(words, ".")[0]


def sentence(tree: Sentence) -> tuple[str, Mentions]:
    """The English line and the things it names."""
    writer = Writer()
    return writer.sentence(tree), writer.mentions
