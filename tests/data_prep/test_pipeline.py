"""Whole preparations of small texts: what comes out, and what happens when something goes wrong."""

import errno
import gzip
import io
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_prep import pipeline
from data_prep.cli import main
from data_prep.pipeline import locked
from fairseq_memtx.ground import writing
from fairseq_memtx.ground.files import count_lines, sha256_of
from tests.data_prep.conftest import Prepare
from tests.data_prep.texts import pairs, write_lines, write_parallel

STAGES = ("clean", "duplicates", "spm", "encode", "valid", "test", "binarise")


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "prepared.json").read_bytes())


def outputs(out: Path) -> dict[str, str]:
    files = (path for folder in ("bin", "refs") for path in (out / folder).iterdir())
    return {path.name: sha256_of(path) for path in files}


def started(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The stages that did their work since the last call."""
    told = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return [line.split(":")[0] for line in told if ": starts (" in line]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_the_agreed_layout(prepare: Prepare, out: Path, splits: dict[str, Path]) -> None:
    assert prepare() == 0
    sets = {f"{split}.en-de.{lang}.{kind}" for split in splits for lang in ("en", "de")
            for kind in ("bin", "idx")}  # fmt: skip
    others = {"dict.en.txt", "dict.de.txt", "sentencepiece.bpe.model"}
    assert {path.name for path in (out / "bin").iterdir()} == sets | others
    for split in ("valid", "test"):
        for lang in ("en", "de"):
            reference = (out / "refs" / f"{split}.{lang}").read_bytes()
            assert reference == Path(f"{splits[split]}.{lang}").read_bytes()
    report = report_of(out)
    assert report["pairs"] == {"train": 299, "valid": 20, "test": 15}
    assert report["dropped"] == {"duplicates": 0, "length ratio": 1}
    assert {Path(name).name: sha for name, sha in report["outputs"].items()} == outputs(out)
    assert {path.stem for path in (out / "stamps").iterdir()} == {*STAGES, "inputs"}


def test_reasons_add_up(prepare: Prepare, out: Path, splits: dict[str, Path]) -> None:
    text = pairs(300)
    bad = [("", "x"), ("y", ""), ("ka " * 300, "lo"), text[0], text[1], ("a\rb ka", "lo mi"),
           ("ka lo mi ka lo mi ka lo mi", "x")]  # fmt: skip
    write_parallel(splits["train"], [*text, *bad])
    with Path(f"{splits['train']}.en").open("ab") as file:
        file.write(b"Stra\xdfe\n")
    with Path(f"{splits['train']}.de").open("ab") as file:
        file.write(b"road\n")
    assert prepare() == 0
    report = report_of(out)
    assert report["dropped"] == {
        "empty": 2,
        "too many words": 1,
        "invalid UTF-8": 1,
        "duplicates": 2,
        "length ratio": report["dropped"]["length ratio"],
    }
    assert report["dropped"]["length ratio"] >= 1
    assert report["pairs"]["train"] == 308 - sum(report["dropped"].values())
    assert report["stages"]["clean"]["control characters replaced"] == 1


def test_the_first_invalid_line_is_named(
    prepare: Prepare, splits: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(f"{splits['train']}.de")
    lines = path.read_bytes().split(b"\n")
    lines[6] = b"Stra\xdfe"
    path.write_bytes(b"\n".join(lines))
    assert prepare() == 0
    assert f"1 pairs are not UTF-8: dropped; first `{path}` line 7" in caplog.text
    assert prepare("--invalid-utf8", "error") == 1
    assert f"`{path}` line 7 is not UTF-8" in caplog.text


def test_any_number_of_workers_gives_the_same(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_prep.corpus.BLOCK_LINES", 20)
    for workers in (1, 3):
        assert prepare(out=tmp_path / str(workers), workers=workers) == 0
    assert outputs(tmp_path / "1") == outputs(tmp_path / "3")
    assert report_of(tmp_path / "1") == report_of(tmp_path / "3")


def test_gzip_gives_the_same_as_plain(
    prepare: Prepare, tmp_path: Path, splits: dict[str, Path]
) -> None:
    assert prepare(out=tmp_path / "plain") == 0
    for split in splits.values():
        for lang in ("en", "de"):
            path = Path(f"{split}.{lang}")
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    assert prepare(out=tmp_path / "gzip") == 0
    assert outputs(tmp_path / "plain") == outputs(tmp_path / "gzip")


def test_documents_and_context_flags(
    prepare: Prepare, out: Path, splits: dict[str, Path], tmp_path: Path
) -> None:
    write_parallel(splits["train"], [("", "x"), *pairs(300)[1:]], docids=True)
    write_parallel(splits["test"], pairs(15, 2), docids=True)
    write_lines(Path(f"{splits['test']}.context"), list("010101010101010"))
    assert prepare() == 0
    docids = (out / "bin" / "train.docid").read_text().split("\n")
    assert len(docids) == report_of(out)["pairs"]["train"] + 1
    assert docids[:6] == ["d0", "d0", "d0", "d0", "d1", "d1"]
    assert (out / "bin" / "test.docid").read_bytes() == Path(f"{splits['test']}.docid").read_bytes()
    assert not (out / "bin" / "valid.docid").exists()
    assert (out / "refs" / "test.context").read_text() == "0\n1\n" * 7 + "0\n"
    other = write_parallel(tmp_path / "text" / "other", pairs(10, 9))
    assert prepare("--train", str(splits["train"]), str(other)) == 0
    docids = (out / "bin" / "train.docid").read_text().split("\n")
    assert docids[0] == "train:d0" and docids[-2] == "other:10"


def test_blank_lines_of_a_test_set_stay(
    prepare: Prepare, out: Path, splits: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    text = pairs(15, 2)
    text[3], text[7] = ("", text[3][1]), (" ", " ")
    write_parallel(splits["test"], text)
    assert prepare() == 0
    assert "2 lines have a blank side (the first is line 4)" in caplog.text
    assert report_of(out)["pairs"]["test"] == count_lines(out / "refs" / "test.en") == 15
    from fairseq.data.indexed_dataset import MMapIndexedDataset

    data = MMapIndexedDataset(str(out / "bin" / "test.en-de.en"))
    assert len(data) == 15
    assert data[3].tolist() == data[7].tolist() == [2]


def test_sgm_test_sets(prepare: Prepare, out: Path, tmp_path: Path) -> None:
    text = pairs(15, 2)
    for side, name in enumerate(("src.en", "ref.de")):
        segments = [f'<seg id="{n}">{pair[side]}</seg>' for n, pair in enumerate(text)]
        write_lines(
            tmp_path / f"news-{name}.sgm", ['<set><doc docid="a">', *segments, "</doc></set>"]
        )
    assert prepare("--test", str(tmp_path / "news")) == 0
    by_prefix = outputs(out)
    assert (out / "refs" / "test.de").read_text(encoding="utf-8") == "".join(
        target + "\n" for _, target in text
    )
    assert (out / "bin" / "test.docid").read_text() == "a\n" * 15
    sgm = [str(tmp_path / f"news-{name}.sgm") for name in ("src.en", "ref.de")]
    assert prepare("--test-sgm", *sgm) == 0
    assert outputs(out) == by_prefix


# Resuming --------------------------------------------------------------------------------------


def test_a_second_run_does_nothing(prepare: Prepare, caplog: pytest.LogCaptureFixture) -> None:
    assert prepare() == 0
    assert started(caplog) == list(STAGES)
    assert prepare() == 0
    assert prepare(workers=2) == 0
    assert started(caplog) == []


@pytest.mark.parametrize(
    ("flags", "first"),
    [
        (("--max-words", "8"), "clean"),
        (("--vocab-size", "110"), "spm"),
        (("--max-ratio", "1.2"), "encode"),
    ],
)
def test_a_changed_option_redoes_its_stage_and_what_follows(
    prepare: Prepare,
    out: Path,
    caplog: pytest.LogCaptureFixture,
    flags: tuple[str, str],
    first: str,
) -> None:
    assert prepare() == 0
    before = outputs(out)
    started(caplog)
    assert prepare(*flags) == 0
    redone = started(caplog)
    assert redone[0] == first and redone[-1] == "binarise"
    assert outputs(out) != before
    assert prepare() == 0
    assert outputs(out) == before


def test_a_changed_input_redoes_its_stage(
    prepare: Prepare, splits: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert prepare() == 0
    started(caplog)
    write_parallel(splits["valid"], pairs(21, 77))
    assert prepare() == 0
    assert started(caplog) == ["valid", "binarise"]


@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_any_stage_then_resumed_equals_uninterrupted(
    prepare: Prepare,
    tmp_path: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stage: str,
) -> None:
    assert prepare(out=tmp_path / "whole") == 0
    kill_at = {
        "clean": "data_prep.pipeline._require_pairs",
        "duplicates": "data_prep.duplicates.mark_first",
        "spm": "data_prep.spm.check_pieces",
        "encode": "data_prep.encode.Encoder._judge",
        "valid": "data_prep.heldout.HeldOut.warn",
        "test": "data_prep.heldout.HeldOut.warn",
        "binarise": "data_prep.binarise.BlockBuilder.finalize",
    }[stage]

    def killed(*args: object, **kwargs: object) -> None:
        if stage != "test" or (out / "stamps" / "valid.json").exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kill_at, killed)
        assert prepare() == 130
    assert not (out / "prepared.json").exists()
    assert not list(out.rglob("*.tmp"))
    assert started(caplog)[-1] == stage
    assert prepare() == 0
    assert started(caplog)[0] == stage
    assert outputs(out) == outputs(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_model_is_noticed_and_trained_again(
    prepare: Prepare, out: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    assert prepare() == 0
    before = outputs(out)
    for path in (out / "work" / "spm.model", out / "bin" / "sentencepiece.bpe.model"):
        content, status = bytearray(path.read_bytes()), path.stat()
        if damage == "truncate":
            del content[-100:]
        content[-1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        if damage == "remove":
            path.unlink()
    assert main(["verify", str(out)]) == 1
    assert "sentencepiece.bpe.model` " in caplog.text
    started(caplog)
    assert prepare() == 0
    assert started(caplog) == ["spm", "binarise"], "the same model again: no need to encode again"
    assert outputs(out) == before
    assert main(["verify", str(out)]) == 0


def test_a_folder_can_be_moved(
    prepare: Prepare, out: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert prepare() == 0
    shutil.move(out, tmp_path / "moved")
    started(caplog)
    assert prepare(out=tmp_path / "moved") == 0
    assert started(caplog) == []


# Bad input ---------------------------------------------------------------------------------------


def test_unequal_line_counts_are_told_before_any_work(
    prepare: Prepare, splits: dict[str, Path], out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_lines(Path(f"{splits['test']}.de"), ["only one"])
    assert prepare() == 1
    assert "test.en` has 15" in caplog.text and "test.de` has 1" in caplog.text
    assert started(caplog) == []


def test_a_missing_side(
    prepare: Prepare, splits: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    Path(f"{splits['train']}.de").unlink()
    assert prepare() == 1
    assert "train.de.gz`: check the path" in caplog.text


def test_a_truncated_gzip(
    prepare: Prepare, splits: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(f"{splits['train']}.en")
    content = gzip.compress(path.read_bytes())
    path.unlink()
    Path(f"{path}.gz").write_bytes(content[: len(content) // 2])
    assert prepare() == 1
    assert "train.en.gz` is damaged or cut short" in caplog.text


def test_an_empty_result(prepare: Prepare, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert prepare("--min-words", "100") == 1
    assert "no pair is left after cleaning (dropped: 300 too few words)" in caplog.text
    assert prepare("--max-subwords", "1", "--max-ratio", "1") == 1
    assert "no pair is left after encoding (dropped: " in caplog.text
    assert not (out / "prepared.json").exists()


def test_an_empty_test_set(
    prepare: Prepare, splits: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    write_parallel(splits["test"], [])
    assert prepare() == 1
    assert "no pair is left after reading the test set" in caplog.text


def test_invalid_utf8_in_a_test_set_is_located(
    prepare: Prepare, splits: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(f"{splits['test']}.en")
    path.write_bytes(b"a\n" * 9 + b"Stra\xdfe\n" + b"a\n" * 5)
    assert prepare() == 1
    assert f"`{path}` line 10 is not UTF-8 at byte 5" in caplog.text


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_in_any_stage(
    prepare: Prepare,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stage: str,
) -> None:
    """The disk is full as soon as the stage has begun: each write to it then fails."""
    create, full = writing._create, False

    def told(*names: Path) -> Any:
        file = create(*names)
        return FullFile(os.dup(file.fileno()), "r+b") if full else file

    real_run = pipeline.Stamps.run

    def run(self: Any, name: str, *args: Any) -> Any:
        nonlocal full
        full = name == stage
        return real_run(self, name, *args)

    with monkeypatch.context() as patched:
        patched.setattr(writing, "_create", told)
        patched.setattr(pipeline.Stamps, "run", run)
        # These two do not write by way of Python's files.
        if stage == "duplicates":
            patched.setattr("os.posix_fallocate", no_space)
        if stage == "binarise":
            patched.setattr("data_prep.binarise.BlockBuilder.add_block", no_space)
        assert prepare() == 1
    assert "the disk is full" in caplog.text
    assert not (out / "prepared.json").exists() and not list(out.rglob("*.tmp"))
    assert not (out / "stamps" / f"{stage}.json").exists()
    assert prepare() == 0
    assert main(["verify", str(out)]) == 0


class FullFile(io.FileIO):
    """A file on a disk that is full."""

    def write(self, content: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_two_at_once_are_refused(
    prepare: Prepare, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(out):
        assert prepare() == 1
    assert "another data_prep is at work in" in caplog.text


def test_verify_wants_a_prepared_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["verify", str(tmp_path)]) == 1
    assert "holds no prepared.json" in caplog.text
