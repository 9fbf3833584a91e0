"""What an exported folder holds, and when there is none."""

import errno
import json
from pathlib import Path

import pytest

from fairseq_memtx.commands import export
from fairseq_memtx.folder import writing

SCORES = {"bleu": {"score": 31.25, "signature": "nrefs:1|case:mixed"}, "copy_bleu": 0.5}


def record(path: Path, **changes: object) -> Path:
    told = {
        "decoder": "feedback",
        "depth": 2,
        "scores": SCORES,
        "seed": 7,
        "threads": 1,
        "hardware": {"cpu": "a processor"},
        "speed": [{"batch": 1, "words": 100, "seconds": [2.0, 4.0, 1.0]}],
        "data": {"name": "sample", "test": "its test set", "pairs": {"train": 393}},
        "training": {"updates": 12, "valid_nll_loss": 3.5},
        **changes,
    }
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command ends with."""
    assert export.main(list(map(str, words))) == 1
    (line,) = [one for one in capsys.readouterr().err.split("\n") if one.startswith("error:")]
    return line


def test_the_card_tells_what_is_recorded(scattered: dict[str, Path], tmp_path: Path) -> None:
    words = [scattered["feedback"], "--out", tmp_path / "folder", "--beam", "4"]
    told = record(tmp_path / "record.json")
    assert export.main([*map(str, words), "--record", str(told)]) == 0
    card = (tmp_path / "folder" / "README.md").read_text(encoding="utf-8")
    for line in (
        "A translation model from `en` to `de`.",
        "| decoder | feedback, 2 layers of 16 |",
        "Search, unless told otherwise: beam 4.",
        "- pairs: train 393",
        "- updates: 12",
        r"| bleu | 31.25 | `nrefs:1\|case:mixed` |",
        "| 1 | 50 |",
    ):
        assert line in card.split("\n")
    assert "copy_bleu" not in card


def test_the_card_says_what_is_not(folders: dict[str, Path]) -> None:
    card = (folders["feedback"] / "README.md").read_text(encoding="utf-8")
    assert "Scores are not recorded." in card and "Speed is not recorded." in card


def test_refusals(
    scattered: dict[str, Path], folders: dict[str, Path], tmp_path: Path, capsys
) -> None:
    model, out = scattered["feedback"], tmp_path / "folder"
    other = record(tmp_path / "record.json", depth=3)
    assert "the model has feedback with 2" in refused(
        capsys, model, "--out", out, "--record", other
    )
    assert "there is no file" in refused(capsys, tmp_path / "none.pt", "--out", out)
    assert "is there already" in refused(capsys, model, "--out", folders["feedback"])
    assert "lies in no folder" in refused(capsys, model, "--out", tmp_path / "a" / "b")
    assert "is not a shortlist" in refused(capsys, model, "--out", out, "--shortlist", other)
    assert "`lenpen` is 99.0" in refused(capsys, model, "--out", out, "--lenpen", "99")
    assert not out.exists()


def test_a_full_disk_leaves_no_folder(
    scattered: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    written = []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr(writing, "write_bytes", full)
    told = refused(capsys, scattered["feedback"], "--out", tmp_path / "folder")
    assert "cannot be written: No space left on device" in told
    assert not (tmp_path / "folder").exists()
