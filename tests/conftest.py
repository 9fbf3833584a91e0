"""Fixtures that every test may use, and what a test run sets before the first test."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: its threads would fight with pytest's other workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from filelock import FileLock

CHECKOUT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Start every test from the same random state, whatever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)
    yield


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of one test run share."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def prepared_sample(shared_tmp: Path) -> Path:
    """A small sample corpus, prepared once per test run: read it, never write to it."""
    out = shared_tmp / "prepared_sample"
    options = ["--documents", "40", "--seed", "7", "--vocab-size", "400"]
    command = [sys.executable, "-m", "data_prep", "sample", "--out", str(out), *options]
    with FileLock(shared_tmp / "prepared_sample.lock"):
        if not (out / "prepared.json").exists():
            done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((out / "prepared.json").read_text(encoding="utf-8"))
    return out
