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
from tests.fairseq_memtx.checkpoint_files import cut, updates_in

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
