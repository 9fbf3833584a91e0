"""Writes syntax trees as German.

A clause is laid out in topological fields: first field, left bracket (finite verb or conjunction),
middle field, right bracket (verbs and separable prefix), final field (extraposed clauses).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import morphology
from .lexicon.nouns import Noun
from .surface import COMMA, Referring, Tokens, write
from .syntax import (
    NO,
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
    is_definite,
    person_of,
)

_PRONOUNS = {
    "I": {"nom": "ich", "acc": "mich", "dat": "mir"},
    "we": {"nom": "wir", "acc": "uns", "dat": "uns"},
    "you": {"nom": "Sie", "acc": "Sie", "dat": "Ihnen"},
    "he": {case: row["m"] for case, row in morphology.PERSONAL.items()},
    "she": {case: row["f"] for case, row in morphology.PERSONAL.items()},
    "they": {case: row["p"] for case, row in morphology.PERSONAL.items()},
}

_INTERROGATIVES = {
    "who": {"nom": "wer", "acc": "wen", "dat": "wem"},
    "what": {"nom": "was", "acc": "was"},
}


# The forms of er, sie and es in each case: what a pronoun could be if gender were unknown.
PERSONAL_FORMS: dict[str, tuple[str, ...]] = {
    case: tuple(dict.fromkeys(row[gender] for gender in "mfn"))
    for case, row in morphology.PERSONAL.items()
}


@dataclass(slots=True)
class Piece:
    """Words of the middle field; `tail` is a relative clause that may move behind the verb."""

    rank: int
    words: Tokens
    tail: Tokens


def agreement(noun: Noun, plural: bool) -> str:
    """The agreement class: p or the noun's gender."""
    return "p" if plural else noun.gender


def pronoun(word: Pronoun, case: str) -> str:
    """ich, mir, ihn ...; *it* takes the gender of its antecedent.

    Raises:
        ValueError: *it* without an antecedent.
    """
    if word.word != "it":
        return _PRONOUNS[word.word][case]
    if word.antecedent is None:
        raise ValueError("`antecedent` is None: a pronoun `it` needs the noun that it stands for")
    form = morphology.PERSONAL[case][word.antecedent.gender]
    return Referring.make(form, word.antecedent, case, word.distance)


def name(person: Name, case: str) -> Tokens:
    """Anna; Herr Weber, Herrn Weber; the genitive adds s."""
    ending = "s" if case == "gen" else ""
    if not person.title:
        return [person.text + ending]
    title = ("Herr" if case == "nom" else "Herrn") if person.sex == "m" else "Frau"
    return [title, person.text + ending]


def noun_phrase(phrase: NounPhrase, case: str) -> Piece:
    """Determiner, number, adjectives, noun, genitive; the relative clause is the tail."""
    kind = agreement(phrase.noun, phrase.plural)
    determiner, owner_name = phrase.determiner, isinstance(phrase.owner, Name)
    pattern = (
        "none"
        if owner_name or (phrase.plural and determiner.german == "ein")
        else (determiner.pattern)
    )
    words: Tokens = []
    if owner_name:
        words += name(phrase.owner, "gen")  # type: ignore[arg-type]
    elif pattern != "none":
        words.append(morphology.determiner_form(determiner.german, pattern, case, kind))
    if phrase.count:
        words.append(phrase.count[1])
    forms = [morphology.adjective_form(a, pattern, case, kind) for a in phrase.adjectives]
    words += adjective_words(phrase, forms)
    words.append(morphology.noun_form(phrase.noun, case, phrase.plural))
    if isinstance(phrase.owner, NounPhrase):
        words += noun_phrase(phrase.owner, "gen").words
    tail = relative(phrase.relative) if phrase.relative else []
    return Piece(0, words, tail)


def nominal(item: Nominal, case: str) -> Piece:
    """Any nominal in its case, with its extraposable tail."""
    match item:
        case NounPhrase():
            return noun_phrase(item, case)
        case Name():
            return Piece(0, name(item, case), [])
        case Pair(first=first, second=second):
            words = [*nominal(first, case).words, "und", *nominal(second, case).words]
            return Piece(0, words, [])
        case Pronoun():
            return Piece(0, [pronoun(item, case)], [])
        case Interrogative(word=word):
            return Piece(0, [_INTERROGATIVES[word][case]], [])
        case _:
            raise TypeError(f"`item` must not be a {type(item).__name__} here")


def prepositional(phrase: Prepositional) -> Piece:
    """Preposition and nominal, contracted (im, zur) unless a relative clause follows."""
    piece = nominal(phrase.nominal, phrase.case)
    contracted = morphology.CONTRACTIONS.get((phrase.german, piece.words[0]))
    has_article = isinstance(phrase.nominal, NounPhrase) and not phrase.nominal.relative
    if contracted and has_article:
        return Piece(0, [contracted, *piece.words[1:]], piece.tail)
    return Piece(0, [phrase.german, *piece.words], piece.tail)


def adverbial(item: Adverbial) -> Piece:
    """A fixed adverb or a prepositional phrase."""
    if item.phrase:
        return prepositional(item.phrase)
    return Piece(0, [item.words[1]], [])  # type: ignore[index]


def predicate(item: Predicate) -> Tokens:
    """sehr alt."""
    degree = [item.degree[1]] if item.degree else []
    return [*degree, item.adjective.german]


def relative_pronoun(clause: Clause) -> Tokens:
    """der, den, dem, dessen Hund, auf den: by the gap's role in its clause."""
    for item, case in ((clause.subject, "nom"), (clause.direct, clause.verb.case)):
        if isinstance(item, Gap):
            if item.whose:
                kind = agreement(item.noun, item.plural)
                return [morphology.RELATIVE["gen"][kind], item.whose.german]
            return [morphology.RELATIVE[case][agreement(item.noun, item.plural)]]
    gap = clause.indirect
    if isinstance(gap, Gap):
        return [morphology.RELATIVE["dat"][agreement(gap.noun, gap.plural)]]
    oblique = clause.oblique
    if oblique and isinstance(oblique.nominal, Gap):
        kind = agreement(oblique.nominal.noun, oblique.nominal.plural)
        return [oblique.german, morphology.RELATIVE[oblique.case][kind]]
    raise ValueError("`clause` has no gap, which a relative clause needs")


def relative(clause: Clause) -> Tokens:
    """A relative clause between commas."""
    return [COMMA, *relative_pronoun(clause), *verb_final(clause), COMMA]


def subordinate(item: Subordinate) -> Tokens:
    """Conjunction and verb-final clause between commas."""
    return [COMMA, item.german, *verb_final(item.clause), COMMA]


def infinitive(item: Infinitive) -> Tokens:
    """(um) ... zu kaufen; an|zu|rufen is one word."""
    verb = item.clause.verb
    last = f"{verb.prefix}zu{verb.infinitive}" if verb.prefix else f"zu {verb.infinitive}"
    head = ["um"] if item.purpose else []
    body = with_final_field(middle_field(item.clause, subject=False), [last])
    return [COMMA, *head, *body, *final_clauses(item.clause), COMMA]


def embedded(item: Subordinate | Infinitive) -> Tokens:
    """A clause in the final field or in front."""
    return infinitive(item) if isinstance(item, Infinitive) else subordinate(item)


def verb_cluster(clause: Clause) -> tuple[str, Tokens]:
    """The finite verb and the other verbs in final order; the prefix is not among them."""
    verb, person, past = clause.verb, person_of(clause.subject), clause.tense == "past"
    plain = verb.prefix + verb.infinitive
    if clause.passive:
        return morphology.finite_auxiliary("werden", past, person), [verb.german_participle]
    if clause.modal:
        return morphology.finite_modal(clause.modal, past, person), [plain]
    if clause.tense in ("perfect", "pluperfect"):
        auxiliary = "sein" if verb.with_sein else "haben"
        had = clause.tense == "pluperfect"
        return morphology.finite_auxiliary(auxiliary, had, person), [verb.german_participle]
    if clause.tense == "future":
        return morphology.finite_auxiliary("werden", False, person), [plain]
    return morphology.finite_verb(verb, past, person), []


def has_prefix_apart(clause: Clause) -> bool:
    """Whether the verb itself is finite, so that its prefix is left behind in main clauses."""
    simple = clause.tense in ("present", "past") and not clause.modal and not clause.passive
    return bool(clause.verb.prefix) and simple


def negated_object(clause: Clause) -> Nominal | None:
    """The direct object, with kein where an indefinite one is negated."""
    direct = clause.direct
    if clause.negated and isinstance(direct, NounPhrase) and not is_definite(direct):
        return replace(direct, determiner=NO)
    return direct


_RANK = {
    "time": 3,
    "frequency": 4,
    "manner": 8,
    "place": 9,
    "agent": 7,
    "measure": 11,
    "direction": 12,
}


def object_rank(clause: Clause, direct: Nominal) -> int:
    """Pronouns come early, those that cannot be a subject even before it; indefinite objects late.

    A form of *it* stays behind the subject whatever its gender, so that the three genders differ
    in the pronoun alone.
    """
    if isinstance(direct, Pronoun):
        clear = pronoun(direct, clause.verb.case).lower() not in ("sie", "es")
        early = clear and direct.word != "it" and not isinstance(clause.subject, Pronoun)
        return -1 if early else 1
    if clause.verb.case == "dat":
        return 5
    return 6 if is_definite(direct) else 10


def middle_field(clause: Clause, subject: bool) -> list[Piece]:
    """Pieces in order: pronouns, time, dative, definite object, nicht, manner, place, the rest."""
    pieces: list[Piece] = []

    def add(rank: int, piece: Piece) -> None:
        pieces.append(Piece(rank, piece.words, piece.tail))

    if subject and not isinstance(clause.subject, Gap):
        add(0, nominal(clause.subject, "nom"))
    direct = negated_object(clause)
    if direct is not None and not isinstance(direct, Gap | Interrogative):
        case = clause.verb.case
        add(object_rank(clause, direct), nominal(direct, case))
    if clause.indirect is not None and not isinstance(clause.indirect, Gap):
        add(2 if isinstance(clause.indirect, Pronoun) else 5, nominal(clause.indirect, "dat"))
    if clause.negated and is_definite(clause.direct):
        add(7, Piece(7, ["nicht"], []))
    for item in clause.adverbials:
        add(_RANK[item.slot], adverbial(item))
    if clause.oblique and not isinstance(clause.oblique.nominal, Gap):
        add(13, prepositional(clause.oblique))
    if clause.predicate:
        add(14, Piece(14, predicate(clause.predicate), []))
    return sorted(pieces, key=lambda piece: piece.rank)


def with_final_field(pieces: list[Piece], bracket: Tokens) -> Tokens:
    """Middle field and right bracket; the last piece's relative clause follows the bracket."""
    words: Tokens = []
    for piece in pieces[:-1]:
        words += piece.words + piece.tail
    if pieces:
        words += pieces[-1].words
    words += bracket
    return words + (pieces[-1].tail if pieces else [])


def final_clauses(clause: Clause) -> Tokens:
    """Complement clause, then adverbial clause."""
    words: Tokens = []
    for item in (clause.complement, clause.trailing):
        if item:
            words += embedded(item)
    return words


def verb_final(clause: Clause) -> Tokens:
    """Middle field, non-finite verbs, finite verb: dass er den Brief gelesen hat."""
    finite, others = verb_cluster(clause)
    if has_prefix_apart(clause):
        finite = clause.verb.prefix + finite
    pieces = middle_field(clause, subject=True)
    return with_final_field(pieces, [*others, finite]) + final_clauses(clause)


def verb_second(clause: Clause, first: Tokens | None) -> Tokens:
    """A main clause; `first` fills the first field, else the subject does.

    An empty `first` gives a yes-no question (verb first).
    """
    finite, others = verb_cluster(clause)
    bracket = [*others, clause.verb.prefix] if has_prefix_apart(clause) else others
    inverted = first is not None
    if first is None:
        subject = nominal(clause.subject, "nom")
        first = subject.words + subject.tail
    pieces = middle_field(clause, subject=inverted)
    return [*first, finite, *with_final_field(pieces, bracket), *final_clauses(clause)]


def main_clause(clause: Clause) -> Tokens:
    """A statement with whatever is fronted."""
    front = clause.fronted
    if front is None:
        return verb_second(clause, None)
    if isinstance(front, Adverbial):
        piece = adverbial(front)
        return verb_second(clause, piece.words + piece.tail)
    return verb_second(clause, embedded(front))


def question(sentence: Sentence) -> Tokens:
    """Yes-no and wh questions."""
    clause = sentence.clauses[0]
    if sentence.question_word:
        return verb_second(clause, [sentence.question_word[1]])
    if isinstance(clause.subject, Interrogative):
        return verb_second(clause, None)
    if isinstance(clause.direct, Interrogative):
        return verb_second(clause, nominal(clause.direct, clause.verb.case).words)
    return verb_second(clause, [])


def without_leading_comma(words: Tokens) -> Tokens:
    """Between *und* and a clause in front there is no comma: und wenn er kommt, ..."""
    return words[1:] if words[0] == COMMA else words


def sentence(tree: Sentence) -> tuple[str, list[tuple[int, Referring]]]:
    """The German line and the positions of its forms of *it*."""
    if tree.kind == "question":
        return write(question(tree), "?")
    words = main_clause(tree.clauses[0])
    for conjunction, clause in zip(tree.conjunctions, tree.clauses[1:], strict=True):
        comma = [] if conjunction[1] == "und" else [COMMA]
        words += [*comma, conjunction[1], *without_leading_comma(main_clause(clause))]
    return write(words, ".")
