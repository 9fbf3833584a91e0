"""Trainings of a study: what failed is told, and processor time adds up over starts."""

import sys
from pathlib import Path

import pytest

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.processes import Job
from scripts.studies.trainings import processor_seconds, run_counted


def job(folder: Path, program: str) -> Job:
    return Job("one", [sys.executable, "-S", "-c", program], folder / "train.log")


def test_processor_time_adds_up_over_starts(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    assert processor_seconds(log) == 0.0
    run_counted([job(tmp_path, "pass")], 1)
    first = processor_seconds(log)
    assert first > 0.0
    with pytest.raises(UserError, match=r"training of one failed, .*train\.log` ends:\nbad"):
        run_counted([job(tmp_path, "print('bad'); raise SystemExit(3)")], 1)
    assert processor_seconds(log) > first
