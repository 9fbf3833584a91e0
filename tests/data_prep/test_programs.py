"""The algorithmic task: what programs look like, and that their labels are what they print."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from fairseq.data.data_utils import load_indexed_dataset

from data_prep.cli import main
from data_prep.programs import NO_LABEL, VARIABLES, Program, run_program, write_split

STATEMENT = re.compile(
    r"([a-z]) (= \d+|\+\+|--) ;|print ([a-z]) ;"
    r"|if ([a-z]) [<>] ([a-z]|\d+) : ([a-z]) (= \d+|\+\+|--) ;"
)


@pytest.fixture(scope="module")
def programs() -> list[Program]:
    return write_split("train", 300, variables=3, statements=100, seed=5)


def test_every_program_is_statements_and_an_end(programs: list[Program]) -> None:
    for program in programs:
        assert program.words[-1] == "END"
        text = " ".join(program.words[:-1])
        statements = [f"{one.strip()} ;" for one in text.split(";")[:-1]]
        assert len(statements) == 100
        assert all(STATEMENT.fullmatch(one) for one in statements)
        assert {word for word in program.words if len(word) == 1 and word.islower()} <= set("xyz")


def test_labels_are_what_a_reader_of_the_words_computes(programs: list[Program]) -> None:
    for program in programs:
        labels = [NO_LABEL] * len(program.words)
        for position, value, distance in run_program(program.words):
            labels[position] = value
            assert 0 < distance <= position
        assert labels == program.labels


def test_values_stay_in_range_and_are_near_uniform(programs: list[Program]) -> None:
    values = Counter(label for program in programs for label in program.labels)
    del values[NO_LABEL]
    assert set(values) == {str(n) for n in range(1, 11)}
    total = sum(values.values())
    assert all(0.07 < count / total < 0.13 for count in values.values())


def test_counts_are_those_of_the_description(programs: list[Program]) -> None:
    """About 430 words, 26 labels, 35 `++`, 35 `--` and 25 `if` a program; 3 to 6 `=`."""

    def mean(word: str) -> float:
        return sum(program.words.count(word) for program in programs) / len(programs)

    assert 420 < sum(len(program.words) for program in programs) / len(programs) < 440
    assert all(360 < len(program.words) < 510 for program in programs)
    assert 24 < mean("print") < 28
    assert 33 < mean("++") < 38 and 33 < mean("--") < 38
    assert 23 < mean("if") < 27
    assert 3 <= mean("=") < 6
    assert 0.45 < mean("<") / mean("if") < 0.55


def test_a_variable_is_given_a_value_once_and_before_it_is_read() -> None:
    for program in write_split("test", 50, variables=5, statements=60, seed=1):
        run_program(program.words)  # would not find a value
        assert set("".join(program.words)) & set(VARIABLES[5:]) <= set("if:print END;")


def test_splits_and_seeds_differ_and_repeat() -> None:
    def first(split: str, seed: int) -> Program:
        return write_split(split, 1, 3, 20, seed)[0]

    assert first("train", 1) == first("train", 1)
    assert first("train", 1) != first("train", 2)
    assert first("train", 1) != first("valid", 1)


def test_a_program_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError):
        run_program(["x", "=", "1", ";", "END", "x", "=", "1", ";"])


def test_the_command_writes_what_fairseq_reads(tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["programs", "--out", str(out), "--variables", "3", "--statements", "12"]
    assert main([*flags, "--programs", "8", "2", "3"]) == 0
    words = Dictionary.load(str(out / "bin" / "dict.txt"))
    labels = Dictionary.load(str(out / "bin" / "dict.label.txt"))
    texts = (out / "text" / "test.words").read_text().splitlines()
    told = (out / "text" / "test.labels").read_text().splitlines()
    found = load_indexed_dataset(str(out / "bin" / "test"), words)
    marked = load_indexed_dataset(str(out / "bin" / "test.label"), labels)
    assert len(found) == len(marked) == len(texts) == 3
    for line, text in enumerate(texts):
        assert words.string(found[line]) == text
        expected = [
            labels.pad() if one == NO_LABEL else labels.index(one) for one in told[line].split()
        ]
        assert marked[line].tolist() == [*expected, labels.pad()]
        assert found[line][-1] == words.eos()
    report = json.loads((out / "prepared.json").read_text())
    assert report["counts"]["train"]["texts"] == 8
    before = {path: path.stat().st_mtime_ns for path in (out / "bin").iterdir()}
    assert main([*flags, "--programs", "8", "2", "3"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (out / "bin").iterdir()}


def test_programs_of_other_lengths_have_the_same_dictionaries(tmp_path: Path) -> None:
    """So that a training can begin with short ones: `fairseq-train SHORT:LONG`."""
    for name, statements in (("short", "2"), ("long", "40")):
        flags = ["--out", str(tmp_path / name), "--train-statements", statements]
        assert main(["programs", *flags, "--programs", "3", "1", "1"]) == 0
    for name in ("dict.txt", "dict.label.txt"):
        short, long = ((tmp_path / one / "bin" / name).read_bytes() for one in ("short", "long"))
        assert short == long
    told = {one: (tmp_path / one / "text" / "train.words").read_text() for one in ("short", "long")}
    assert [text.count(" ;") for text in told.values()] == [3 * 2, 3 * 40]
    assert (tmp_path / "short" / "text" / "test.words").read_text().count(" ;") == 100
    words = Dictionary.load(str(tmp_path / "long" / "bin" / "dict.txt"))
    assert "unk" not in words.string(
        load_indexed_dataset(str(tmp_path / "long/bin/train"), words)[0]
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--variables", "0"], "`--variables 0` is not in 1..9"),
        (["--variables", "10"], "`--variables 10` is not in 1..9"),
        (["--statements", "0"], "is at least 1"),
        (["--train-statements", "0"], "is at least 1"),
        (["--programs", "1", "0", "1"], "is at least 1"),
    ],
)
def test_impossible_sizes_are_refused(
    flags: list[str], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["programs", "--out", str(tmp_path / "out"), *flags]) == 1
    assert message in caplog.text
    assert not (tmp_path / "out").exists()
