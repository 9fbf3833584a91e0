"""Whether *it* needs what the flags say, by oracles that read only the text."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

import pytest

from data_prep.sample.lexicon.nouns import COMPOUNDS, NOUNS, THING_KINDS, Noun
from data_prep.sample.pronouns import accuracy, contrasts, is_right, read_records

THINGS = [noun for kind in THING_KINDS for noun in NOUNS[kind]]
THINGS += [noun for nouns in COMPOUNDS.values() for noun in nouns]
PLURALS = {form for noun in THINGS for form in (noun.german_plural, noun.german_plural + "n")}
FORMS = {
    "nom": {"m": "er", "f": "sie", "n": "es"},
    "acc": {"m": "ihn", "f": "sie", "n": "es"},
    "dat": {"m": "ihm", "f": "ihr", "n": "ihm"},
}


def singular_forms(noun: Noun) -> set[str]:
    return {noun.german, noun.genitive}


# German words that can only be the singular of a thing.
SINGULAR = {form: noun for noun in THINGS for form in singular_forms(noun) - PLURALS}


def german_words(line: str) -> list[str]:
    """Words of a line without names (Herr Wolf) and times (7:45 Uhr), which look like nouns."""
    plain = re.sub(r"\b(Herrn?|Frau) [A-ZÄÖÜ]\w+|\d Uhr", "", line)
    return re.findall(r"[\w-]+", plain)


def things_named(line: str) -> list[Noun]:
    return [SINGULAR[word] for word in german_words(line) if word in SINGULAR]


def records(sample, name="train"):
    return [json.loads(row) for row in sample.splits[name].pronouns]


def test_share_needing_context(sample):
    for split in sample.splits.values():
        assert set(split.context) == {"0", "1"}
        assert 0.18 <= split.context.count("1") / len(split.context) <= 0.30


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_flag_is_one_exactly_where_it_refers_to_an_earlier_sentence(sample, name):
    split = sample.splits[name]
    reaching_back = {row["line"] for row in records(sample, name) if row["distance"] > 0}
    with_record = {row["line"] for row in records(sample, name)}
    for number, (english, flag) in enumerate(zip(split.en, split.context, strict=True), start=1):
        assert (flag == "1") == (number in reaching_back)
        says_it = re.search(r"\bit\b", english, re.IGNORECASE) is not None
        assert says_it == (number in with_record), english


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_antecedent_stands_where_the_record_says_and_alone(sample, name):
    """The noun is `distance` sentences back, in the document, and no thing is named since."""
    split = sample.splits[name]
    genders = {noun.german: noun.gender for noun in THINGS}
    forms = {noun.german: singular_forms(noun) for noun in THINGS}
    for row in records(sample, name):
        line, distance = row["line"] - 1, row["distance"]
        source = line - distance
        assert split.docid[source] == split.docid[line]
        assert genders[row["antecedent"]] == row["gender"]
        assert forms[row["antecedent"]] & set(german_words(split.de[source]))
        assert {noun.german for noun in things_named(split.de[source])} <= {row["antecedent"]}
        if distance:
            assert row["antecedent"] not in {noun.german for noun in things_named(split.de[line])}
            assert not any(things_named(text) for text in split.de[source + 1 : line])


def test_pronoun_stands_at_its_position_with_the_right_form(sample):
    split = sample.splits["train"]
    for row in records(sample):
        word = split.de[row["line"] - 1].split(" ")[row["position"]].strip(".,").lower()
        by_gender = FORMS[row["case"]]
        assert word == row["pronoun"] == by_gender[row["gender"]]
        assert set(row["alternatives"]) == set(by_gender.values()) - {word}


def test_nothing_in_the_sentence_tells_the_gender(sample):
    """Equal English lines have different German ones, and each gender is a third."""
    split = sample.splits["train"]
    germans = defaultdict(set)
    for english, german, flag in zip(split.en, split.de, split.context, strict=True):
        if flag == "1":
            germans[english].add(german)
    assert sum(len(found) > 1 for found in germans.values()) >= 3
    genders = Counter(row["gender"] for row in records(sample) if row["distance"])
    total = sum(genders.values())
    assert total > 500
    assert all(0.28 <= count / total <= 0.39 for count in genders.values()), genders


def test_words_of_the_sentence_do_not_help_to_guess(sample):
    """The best gender for each word of the line, learnt on one half, fails on the other."""
    split = sample.splits["train"]
    rows = [row for row in records(sample) if row["distance"]]
    tables: dict[str, Counter] = defaultdict(Counter)
    for row in rows[::2]:
        for word in set(split.en[row["line"] - 1].split()):
            tables[word][row["gender"]] += 1
    right = 0
    for row in rows[1::2]:
        votes: Counter = Counter()
        for word in set(split.en[row["line"] - 1].split()):
            total = sum(tables[word].values())
            votes.update({gender: n / total for gender, n in tables[word].items()})
        right += max("mfn", key=lambda gender: votes[gender]) == row["gender"]
    assert right / len(rows[1::2]) < 0.45


def test_distances_vary(sample):
    distances = Counter(row["distance"] for row in records(sample))
    assert set(distances) == {0, 1, 2, 3, 4, 5}
    far = sum(distances[d] for d in (2, 3, 4))
    assert 0.3 <= far / (far + distances[1]) <= 0.7
    assert all(distances[d] > 20 for d in range(5))


def test_contrasts_and_accuracy(sample):
    split = sample.splits["test"]
    by_line = read_records(sample.folder / "test.pronouns")
    perfect = accuracy(split.de, by_line)
    assert set(perfect) > {"context", "1"}
    wrong = list(split.de)
    for line, line_records in by_line.items():
        others = contrasts(split.de[line - 1], line_records)
        assert len(others) in (1, 2) and split.de[line - 1] not in others
        wrong[line - 1] = others[0]
    assert accuracy(wrong, by_line)["context"]["right"] < 0.1 * perfect["context"]["right"]
    # Other words of a line may be forms of sie and es, so even the references are not all clear.
    assert perfect["context"]["share"] > 0.85


def test_scores_by_hand():
    row = {"line": 1, "position": 0, "pronoun": "er", "alternatives": ["es", "sie"], "case": "nom"}
    row |= {"distance": 2, "gender": "m", "antecedent": "Hut"}
    assert contrasts("Er war alt.", [row]) == ["Sie war alt.", "Es war alt."]
    assert is_right("Gestern war er alt.", row) and not is_right("Sie war alt.", row)
    assert accuracy(["Er war alt."], {1: [row]})["context"] == {
        "pronouns": 1, "right": 1, "share": 1.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match="`position` points at 'Der' instead of 'er'"):
        contrasts("Der Hut war alt.", [row])
    with pytest.raises(ValueError, match="`hypotheses` has 0 lines: it has to have 1 or more"):
        accuracy([], {1: [row]})
