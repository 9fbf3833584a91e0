"""Two trainings never share a folder; what stands in the way is told in one line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq import checkpoint_utils

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.training import one_at_a_time

repairs.apply()

HOLDS = """
import sys, time
from pathlib import Path
from fairseq_memtx.training.one_at_a_time import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def other_training(folder: Path, seconds: float) -> subprocess.Popen:
    """Another process that holds the folder; it does so when this returns."""
    command = [sys.executable, "-c", HOLDS, str(folder), str(seconds)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    return other


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
