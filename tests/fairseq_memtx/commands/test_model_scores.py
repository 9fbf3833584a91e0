"""`memtx score --model`: a line for each pair; what it computes is tested with the translator."""

import json
from pathlib import Path

import pytest

from fairseq_memtx.commands import score
from fairseq_memtx.translator import Translator
from tests.checkpoints import write_scattered

SOURCE = ["The old dog sees a cat .", "", "A bird"]
HYPOTHESES = ["Der alte Hund sieht eine Katze .", "Ein Vogel", ""]


@pytest.fixture(scope="module")
def model(tiny_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    return write_scattered(tiny_checkpoints["feedback"], path)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for name, lines in (("s", SOURCE), ("h", HYPOTHESES)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return ["--source", str(tmp_path / "s"), "--hypotheses", str(tmp_path / "h")]


def test_a_line_for_each_pair(
    model: Path, files: list[str], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    want = Translator.from_pretrained(model).score(SOURCE, HYPOTHESES)
    words = ["--model", str(model), *files, "--batch-size", "1", "--threads", "1"]
    assert score.main(words) == 0
    rows = [line.split("\t") for line in capsysbinary.readouterr().out.decode().split("\n")[:-1]]
    assert len(rows) == 3
    for row, one in zip(rows, want, strict=True):
        assert float(row[0]) == pytest.approx(one.log_prob, abs=2e-5)
        assert int(row[1]) == len(one.subword_scores)
        assert float(row[2]) == pytest.approx(one.log_prob / len(one.subword_scores), abs=1e-5)
    assert score.main([*words, "--format", "jsonl", "--alignment"]) == 0
    lines = capsysbinary.readouterr().out.decode().split("\n")[:-1]
    for number, (line, one) in enumerate(zip(lines, want, strict=True), 1):
        told = json.loads(line)
        assert told["line"] == number and told["text"] == HYPOTHESES[number - 1]
        assert tuple(told["subwords"]) == one.subwords
        assert told["subword_scores"] == pytest.approx(one.subword_scores, abs=2e-6)
        assert len(told["alignment"].split()) == (len(one.subwords) if SOURCE[number - 1] else 0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hypotheses", "h"], "name `--references` for BLEU and chrF, or `--model`"),
        (["--hypotheses", "h", "--model", "m"], "`--model` needs `--source`"),
        (["--hypotheses", "h", "--model", "m", "--references", "r"], "exclude each other"),
        (["--hypotheses", "h", "--references", "r", "--half"], "`--half` does nothing without"),
        (["--hypotheses", "h", "--source", "s", "--model", "m", "--alignment"], "--format jsonl"),
        (["--hypotheses", "{h}", "--source", "{s}", "--model", "m"], "has 3 lines, but `--source"),
        (["--hypotheses", "{s}", "--source", "{s}", "--model", "m"], "no checkpoint `m`"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s").write_text("a\n")
    (tmp_path / "h").write_text("a\nb\nc\n")
    filled = [word.format(s=tmp_path / "s", h=tmp_path / "h") for word in words]
    assert score.main(filled) == 1
    error = capsys.readouterr().err.split("\n")[-2]
    assert error.startswith("error: ") and says in error
