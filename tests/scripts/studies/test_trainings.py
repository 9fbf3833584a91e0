"""Trainings of a study: what failed is told, and processor time adds up over starts."""

import json
import logging
import sys
from pathlib import Path

import pytest

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.processes import Job
from scripts.studies.trainings import limits, processor_seconds, run_counted


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


def test_a_training_is_told_of_while_it_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = "2026-01-01 | INFO | %s | %s"
    inner = {"epoch": 1, "update": 0.5, "loss": "3.0", "num_updates": "50"}
    valid = {"epoch": 1, "valid_nll_loss": "2.0", "valid_num_updates": "100"}
    lines = [line % ("train_inner", json.dumps(inner)), line % ("valid", json.dumps(valid))]
    program = f"import time; print({chr(10).join(lines)!r}, flush=True); time.sleep(0.8)"
    with caplog.at_level(logging.INFO):
        run_counted([job(tmp_path, program)], 1)
    assert (
        "one: epoch 1, 100 updates: validation 2.000 bits a token, perplexity 4.00" in caplog.text
    )
    assert "one: done" in caplog.text


def test_where_it_ends_stands_in_the_command(tmp_path: Path) -> None:
    command = ["fairseq-train", "data", "--max-update", "40"]
    assert limits(Job("one", command, tmp_path / "log")) == (0, 40)
