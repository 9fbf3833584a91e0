"""Two trainings never share a folder; what stands in the way is told in one line."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from fairseq import checkpoint_utils

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.training import one_at_a_time
from tests.fairseq_memtx.ranks import processes_of

repairs.apply()


def hold_and_wait(_: int, folder: Path, seconds: float, held: Any) -> None:
    one_at_a_time.hold(folder)
    held.set()
    time.sleep(seconds)


@contextmanager
def other_training(folder: Path, seconds: float) -> Iterator[BaseProcess]:
    """Another process that holds the folder; it does so from the beginning."""
    held = multiprocessing.get_context("forkserver").Event()
    with processes_of(hold_and_wait, 1, folder, seconds, held) as (process,):
        assert held.wait(60)
        yield process


def test_the_second_training_is_refused(
    fairseq_train: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_at_a_time, "WAIT_SECONDS", 0.5)
    with other_training(tmp_path, 100) as other:
        with pytest.raises(UserError, match="is in use by another training"):
            fairseq_train("--max-update", "1", "--disable-validation")
        other.kill()
    assert not list(tmp_path.glob("*.pt"))


def test_a_training_waits_for_one_that_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with other_training(tmp_path, 1):
        one_at_a_time.hold(tmp_path)
    assert "waiting for it to end" in caplog.text
    one_at_a_time.hold(tmp_path)  # a second training of this process


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"--save-dir `.*file/x` cannot be written"):
        checkpoint_utils.verify_checkpoint_directory(str(tmp_path / "file" / "x"))


def test_defect_fairseq_takes_a_folder_in_use(tmp_path: Path) -> None:
    with other_training(tmp_path, 100) as other:
        checkpoint_utils.verify_checkpoint_directory.__wrapped__(str(tmp_path))
        other.kill()
