"""`memtx translate` with columns, JSON, prefixes, constraints and workers."""

import io
import json
from pathlib import Path

import pytest

from fairseq_memtx.commands import translate
from fairseq_memtx.translation.telling import entries
from tests.checkpoints import write_scattered

SOURCE = ["The old dog sees a cat .", "", "A bird", "The woman reads the book and sleeps ."]
LIMIT = ["--max-len-a", "0", "--max-len-b", "12", "--beam", "3"]


@pytest.fixture(scope="module")
def model(tiny_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    return write_scattered(tiny_checkpoints["feedback"], path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(tmp_path / "source.en", SOURCE)


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def command(*words: object) -> int:
    return translate.main([*map(str, words), *LIMIT])


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_the_formats_tell_the_same(model: Path, source: Path, tmp_path: Path) -> None:
    names = {"text": [], "columns": ["--nbest", 2, "--alignment"],
             "jsonl": ["--nbest", 2, "--alignment", "--attention"]}  # fmt: skip
    for name, flags in names.items():
        words = [model, "--input", source, "--output", tmp_path / name, "--format", name]
        assert command(*words, *flags) == 0
    text = lines_of(tmp_path / "text")
    objects = [json.loads(line) for line in lines_of(tmp_path / "jsonl")]
    rows = [line.split("\t") for line in lines_of(tmp_path / "columns")]
    assert [one["line"] for one in objects] == [1, 2, 3, 4]
    assert [one["source"] for one in objects] == SOURCE
    assert [one["translations"][0]["text"] for one in objects] == text
    assert [row[:2] for row in rows if row[3]] == [[n, r] for n in "134" for r in "12"]
    flat = [(one["line"], told) for one in objects for told in one["translations"]]
    for row, (number, told) in zip(rows, flat, strict=True):
        assert row[0] == str(number) and float(row[2]) == told["score"] and row[3] == told["text"]
        assert row[4].split() == told["subwords"]
        assert [float(score) for score in row[5].split()] == told["subword_scores"]
        assert row[6:] == ([told["alignment"], told["word_alignment"]] if told["text"] else [])
        if told["text"]:
            sums = [sum(row) for row in told["attention"]]
            assert sums == pytest.approx([1] * len(told["subword_scores"]), abs=1e-4)
    assert objects[1]["translations"] == [
        {"text": "", "score": 0.0, "subwords": [], "subword_scores": []}
    ]


@pytest.mark.parametrize(
    "flags", ["columns", "jsonl", "columns --generator fairseq --sampling --temperature 2"]
)
def test_an_interrupted_translation_goes_on_in_each_format(
    flags: str, model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairseq_memtx.translator import Translator

    words = [model, "--input", source, "--block", 1, "--nbest", 2, "--format", *flags.split()]
    assert command(*words, "--output", tmp_path / "whole") == 0
    original, seen = Translator.nbest, []

    def interrupted(self, lines, progress=None, first=0):
        seen.append(first)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(self, lines, progress, first)

    monkeypatch.setattr(Translator, "nbest", interrupted)
    output = tmp_path / "output"
    assert command(*words, "--output", output) == 130
    with (tmp_path / "output.part").open("ab") as file:
        file.write(b"4\t1\t")  # as a kill may leave it
    assert command(*words, "--output", output) == 0
    assert seen == [0, 1, 2, 3, 3]
    assert output.read_bytes() == (tmp_path / "whole").read_bytes()


def test_of_columns_the_last_line_may_not_be_whole() -> None:
    rows = b"1\t1\ta\n1\t2\tb\n2\t1\tc\n3\t1\td\n"
    assert list(entries(io.BytesIO(rows), "columns")) == [b"1\t1\ta\n1\t2\tb\n", b"2\t1\tc\n"]
    assert len(list(entries(io.BytesIO(rows), "jsonl"))) == 4
    assert list(entries(io.BytesIO(b""), "columns")) == []


def test_prefixes_of_a_file_and_after_tabs(
    model: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefixes = written(tmp_path / "prefixes", ["Der", "", "", "Die"])
    tabs = written(tmp_path / "tabs.en", [f"{SOURCE[0]}\tDer", *SOURCE[1:3], f"{SOURCE[3]}\tDie"])
    words = [model, "--block", 3, "--output"]
    assert command(*words, tmp_path / "a", "--input", source, "--target-prefix", prefixes) == 0
    assert command(*words, tmp_path / "b", "--input", tabs, "--target-prefix", "tab") == 0
    found = lines_of(tmp_path / "a")
    assert found == lines_of(tmp_path / "b")
    assert found[0].startswith("Der") and found[3].startswith("Die") and found[1] == ""
    for count, told in ((3, "fewer"), (5, "more")):
        written(prefixes, ["Der", "", "", "Die", ""][:count])
        flags = ["--input", source, "--target-prefix", prefixes]
        assert command(*words, tmp_path / "c", *flags) == 1
        assert f"prefixes` has {told} lines than the input" in capsys.readouterr().err
        assert not (tmp_path / "c").exists()


def test_constraints_after_tabs_and_workers(model: Path, tmp_path: Path) -> None:
    lines = [f"{SOURCE[0]}\tKatze\tHund", SOURCE[2], f"{SOURCE[3]}\tBuch"]
    path = written(tmp_path / "in.en", lines)
    words = [model, "--input", path, "--constraints", "ordered", "--generator", "fairseq"]
    for workers in (1, 2):
        flags = ["--batch-size", 1, "--workers", workers, "--output", tmp_path / str(workers)]
        assert command(*words, *flags) == 0
    found = lines_of(tmp_path / "1")
    assert 0 <= found[0].find("Katze") < found[0].find("Hund") and "Buch" in found[2]
    assert found == lines_of(tmp_path / "2")


@pytest.mark.parametrize(
    ("flags", "shares"),
    [
        ("--generator fairseq", (4, 1)),
        ("--native off", (4, 1)),
        ("", (None, 4)),
        ("--native off --threads 3", (None, 3)),
        ("--native off --workers 2", (2, 1)),
        ("--native off --documents blank", (None, 4)),
        ("--native off --device cuda", (None, 4)),
    ],
)
def test_a_file_is_spread_over_processes_where_threads_gain_less(
    flags: str, shares: tuple, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translate.cores, "default_threads", lambda: 4)
    monkeypatch.setattr("fairseq_memtx.native.searches.is_usable", lambda: True)
    args = translate.parse_args(["model.pt", "--input", str(source), *flags.split()])
    translate.share_out(args)
    assert (args.workers, args.threads) == shares


def test_what_comes_through_a_pipe_and_what_no_engine_searches(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translate.cores, "default_threads", lambda: 4)
    piped = translate.parse_args(["model.pt", "--native", "off"])
    translate.share_out(piped)
    assert (piped.workers, piped.threads) == (None, 4)
    monkeypatch.setattr("fairseq_memtx.native.searches.is_usable", lambda: False)
    args = translate.parse_args(["model.pt", "--input", str(source)])
    translate.share_out(args)
    assert (args.workers, args.threads) == (4, 1)


def test_the_default_of_a_file_finds_the_same(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translate.cores, "default_threads", lambda: 2)
    words = [model, "--input", source, "--generator", "fairseq", "--batch-size", 1, "--output"]
    assert command(*words, tmp_path / "spread") == 0
    assert command(*words, tmp_path / "one", "--threads", 1) == 0
    assert lines_of(tmp_path / "spread") == lines_of(tmp_path / "one")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--nbest 2", "`--nbest 2` needs `--format columns` or `--format jsonl`"),
        ("--alignment", "`--alignment` needs `--format columns`"),
        ("--attention --format columns", "`--attention` needs `--format jsonl`"),
        ("--nbest 4 --format jsonl", "`nbest` is 4: it can be at most `beam`, which is 3"),
        ("--sampling", "`generator` is fast, which does not know `sampling`: it has to be fairseq"),
        ("--target-prefix no.txt", "there is no file `--target-prefix no.txt`"),
        ("--target-prefix tab --constraints ordered", "exclude each other: leave one out"),
        ("--workers 2 --threads 2", "`--threads 2` and `--workers` exclude each other"),
        ("--documents blank --nbest 2", "`--nbest 2` needs `--format columns`"),
        ("--documents blank --workers 2", "`--documents` and `--workers` exclude"),
        ("--documents blank --target-prefix tab", "`--documents` and `--target-prefix` exclude"),
    ],
)
def test_what_cannot_be_together_is_refused_in_one_line(
    flags: str, says: str, model: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(model, "--input", source, *flags.split()) == 1
    error = capsys.readouterr().err.split("\n")[-2]
    assert error.startswith("error: ") and says in error
