"""A training goes on from the newest whole checkpoint."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq import checkpoint_utils

from fairseq_memtx import repairs
from fairseq_memtx.checkpoints import archive
from fairseq_memtx.ground.errors import UserError
from tests.choosing import some
from tests.fairseq_memtx.checkpoint_files import cut, updates_in
from tests.reliability.hostile import flipped

repairs.apply()


def test_training_goes_on_from_the_newest_whole_checkpoint(
    fairseq_train: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fairseq_train("--max-update", "5", "--save-interval-updates", "2", "--disable-validation")
    last = tmp_path / "checkpoint_last.pt"
    # Written last but not the newest state; and a newer one that is cut short as well.
    os.utime(tmp_path / "checkpoint_1_2.pt", (time.time() + 99, time.time() + 99))
    (tmp_path / "checkpoint_1_6.pt").write_bytes(b"PK")
    cut(last)
    fairseq_train("--max-update", "7", "--disable-validation")
    assert "checkpoint_1_4.pt, update 4" in caplog.text
    assert updates_in(last) == 7
    assert archive.problem(tmp_path / "checkpoint_last.pt.damaged") is not None


def test_without_a_whole_checkpoint_training_says_so(
    fairseq_train: Callable[..., None], tmp_path: Path
) -> None:
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(UserError, match=r"remove it to start training anew"):
        fairseq_train("--max-update", "1", "--disable-validation")
    assert last.read_bytes() == b"PK\x03\x04 half a file"


def test_defect_fairseq_stops_at_a_cut_short_last_checkpoint(
    fairseq_train: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fairseq_train("--max-update", "3", "--save-interval-updates", "2", "--disable-validation")
    cut(tmp_path / "checkpoint_last.pt")
    stock = checkpoint_utils.load_checkpoint.__wrapped__
    monkeypatch.setattr(checkpoint_utils, "load_checkpoint", stock)
    with pytest.raises(UserError, match="cut short"):
        fairseq_train("--max-update", "5", "--disable-validation")


@pytest.mark.parametrize("kind", some(["a flipped bit", "missing", "a dangling link"], 3))
def test_without_a_last_checkpoint_training_goes_on_from_the_newest(
    kind: str,
    fairseq_train: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fairseq_train("--max-update", "4", "--save-interval-updates", "2", "--disable-validation")
    last = tmp_path / "checkpoint_last.pt"
    if kind == "a flipped bit":
        flipped(last, last, tmp_path / "mark")
    else:
        last.unlink()
    if kind == "a dangling link":
        last.symlink_to(tmp_path / "nowhere")
    (tmp_path / "checkpoint_1_4.pt").unlink()
    fairseq_train("--max-update", "3", "--disable-validation")
    assert "going on from" in caplog.text and "checkpoint_1_2.pt, update 2" in caplog.text
    assert updates_in(last) == 3


def test_a_folder_in_place_of_the_last_checkpoint_is_refused(
    fairseq_train: Callable[..., None], tmp_path: Path
) -> None:
    fairseq_train("--max-update", "2", "--save-interval-updates", "2", "--disable-validation")
    (tmp_path / "checkpoint_last.pt").unlink()
    (tmp_path / "checkpoint_last.pt").mkdir()
    with pytest.raises(UserError, match="is a folder, not a checkpoint: move it away"):
        fairseq_train("--max-update", "3", "--disable-validation")


@pytest.mark.parametrize("flag", ["--restore-file", "--finetune-from-model"])
def test_a_start_that_is_no_file_is_refused(
    flag: str, fairseq_train: Callable[..., None], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"there is no file .* {flag} has to be a checkpoint"):
        fairseq_train("--max-update", "1", "--disable-validation", flag, str(tmp_path / "no.pt"))


def test_at_its_limit_a_training_does_nothing_more(
    fairseq_train: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fairseq_train("--max-update", "3", "--disable-validation")
    last = tmp_path / "checkpoint_last.pt"
    before = last.read_bytes()
    for _ in range(2):
        fairseq_train("--max-update", "3", "--disable-validation")
    assert last.read_bytes() == before
    assert "nothing is left to train: 3 updates are made" in caplog.text
    fairseq_train("--max-update", "4", "--disable-validation")
    assert updates_in(last) == 4


@pytest.mark.slow
def test_defect_fairseq_trains_beyond_its_limit_and_from_nothing(
    fairseq_train: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = checkpoint_utils.load_checkpoint.__wrapped__
    monkeypatch.setattr(checkpoint_utils, "load_checkpoint", stock)
    fairseq_train("--max-update", "3", "--disable-validation")
    fairseq_train("--max-update", "3", "--disable-validation")
    assert updates_in(tmp_path / "checkpoint_last.pt") == 4
    missing = ("--restore-file", str(tmp_path / "no.pt"))
    fairseq_train("--max-update", "1", "--disable-validation", *missing)
    assert updates_in(tmp_path / "checkpoint_last.pt") == 1
