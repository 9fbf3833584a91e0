"""German endings against tables written out in full."""

from __future__ import annotations

import pytest

from data_prep.sample import german
from data_prep.sample.lexicon.nouns import NOUNS, THING_KINDS
from data_prep.sample.lexicon.verbs import MODALS, VERBS
from data_prep.sample.morphology import (
    english_third_person,
    finite_auxiliary,
    finite_modal,
    finite_verb,
    indefinite_article,
)
from data_prep.sample.syntax import BARE, MY, THE, THIS, A

from .trees import np, verb

CASES = ("nom", "acc", "dat", "gen")
PHRASES = [
    (THE, "Tisch", False, "der alte Tisch|den alten Tisch|dem alten Tisch|des alten Tisches"),
    (THE, "Lampe", False, "die alte Lampe|die alte Lampe|der alten Lampe|der alten Lampe"),
    (THE, "Buch", False, "das alte Buch|das alte Buch|dem alten Buch|des alten Buches"),
    (THE, "Buch", True, "die alten Bücher|die alten Bücher|den alten Büchern|der alten Bücher"),
    (A, "Tisch", False, "ein alter Tisch|einen alten Tisch|einem alten Tisch|eines alten Tisches"),
    (A, "Lampe", False, "eine alte Lampe|eine alte Lampe|einer alten Lampe|einer alten Lampe"),
    (A, "Buch", False, "ein altes Buch|ein altes Buch|einem alten Buch|eines alten Buches"),
    (BARE, "Tisch", True, "alte Tische|alte Tische|alten Tischen|alter Tische"),
    (MY, "Auto", True, "meine alten Autos|meine alten Autos|meinen alten Autos|meiner alten Autos"),
    (
        THIS,
        "Bär",
        False,
        "dieser alte Bär|diesen alten Bären|diesem alten Bären|dieses alten Bären",
    ),
    (A, "Affe", False, "ein alter Affe|einen alten Affen|einem alten Affen|eines alten Affen"),
    (THE, "Bus", False, "der alte Bus|den alten Bus|dem alten Bus|des alten Busses"),
]


@pytest.mark.parametrize(("determiner", "noun", "plural", "forms"), PHRASES)
def test_noun_phrase_in_four_cases(determiner, noun, plural, forms):
    phrase = np(noun, determiner, "old", plural=plural)
    written = [" ".join(german.noun_phrase(phrase, case).words) for case in CASES]
    assert written == forms.split("|")


@pytest.mark.parametrize(
    ("base", "lemma", "present", "past"),
    [
        ("read", "lesen", "lese liest lesen lesen", "las las lasen lasen"),
        ("answer", "antworten", "antworte antwortet antworten antworten",
         "antwortete antwortete antworteten antworteten"),
        ("be", "sein", "bin ist sind sind", "war war waren waren"),
        ("know", "wissen", "weiß weiß wissen wissen", "wusste wusste wussten wussten"),
        ("like", "mögen", "mag mag mögen mögen", "mochte mochte mochten mochten"),
        ("admire", "bewundern", "bewundere bewundert bewundern bewundern",
         "bewunderte bewunderte bewunderten bewunderten"),
        ("invite", "einladen", "lade lädt laden laden", "lud lud luden luden"),
        ("eat", "essen", "esse isst essen essen", "aß aß aßen aßen"),
        ("become", "werden", "werde wird werden werden", "wurde wurde wurden wurden"),
    ],
)  # fmt: skip
def test_conjugation(base, lemma, present, past):
    found = verb(base, lemma)
    persons = ("1s", "3s", "1p", "3p")
    assert " ".join(finite_verb(found, False, person) for person in persons) == present
    assert " ".join(finite_verb(found, True, person) for person in persons) == past


def test_auxiliaries_and_modals():
    assert [finite_auxiliary("haben", False, p) for p in ("1s", "3s", "3p")] == [
        "habe",
        "hat",
        "haben",
    ]
    assert [finite_auxiliary("werden", False, p) for p in ("1s", "3s", "3p")] == [
        "werde",
        "wird",
        "werden",
    ]
    assert finite_auxiliary("sein", True, "1p") == "waren"
    assert [finite_modal(MODALS["can"], False, p) for p in ("1s", "3p")] == ["kann", "können"]
    assert [finite_modal(MODALS["should"], False, p) for p in ("3s", "3p")] == ["sollte", "sollten"]


def test_english_endings():
    assert [english_third_person(w) for w in ("go", "try", "play", "wash", "have to")] == [
        "goes", "tries", "plays", "washes", "has to",
    ]  # fmt: skip
    assert [indefinite_article(w) for w in ("apple", "useful", "honest", "house")] == [
        "an", "a", "an", "a",
    ]  # fmt: skip


def test_lexicon_size_and_kinds():
    nouns = [noun for kind in NOUNS.values() for noun in kind]
    assert len(nouns) >= 250 and len({noun.german for noun in nouns}) == len(nouns)
    assert all(noun.english != noun.english_plural for noun in nouns)  # or "it" and "they" blur
    assert len(VERBS) >= 120
    for kind in THING_KINDS:
        assert {noun.gender for noun in NOUNS[kind]} == set("mfn"), kind
    assert {kind for found in VERBS for kind in found.subjects + found.objects} <= set(NOUNS)


def test_genitives_by_the_rules_of_german():
    """Feminine nouns have no ending, n-declension nouns one in -n, the rest one in -s."""
    for noun in (noun for kind in NOUNS.values() for noun in kind):
        if noun.gender == "f":
            assert noun.genitive == noun.german
        elif noun.weak:
            assert noun.gender == "m" and noun.genitive.endswith("n")
        else:
            assert noun.genitive.endswith("s") and noun.genitive != noun.german


def test_participles_by_the_rules_of_german():
    """ge- stands after a separable prefix; its absence marks be-, ver-, -ieren and their like."""
    unstressed = ("be", "ver", "er", "ge", "ent", "zer", "wider", "über", "unter")
    for found in VERBS:
        rest = found.german_participle.removeprefix(found.prefix)
        plain = found.infinitive.startswith(unstressed) or found.infinitive.endswith("ieren")
        if not plain or found.infinitive in ("essen", "geben", "gehen"):
            assert rest.startswith("ge"), found.lemma
        assert rest.endswith(("t", "n"))
