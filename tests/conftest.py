"""Fixtures that every test may use, and what a test run sets before the first test."""

import logging
import os
import shutil
import signal
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

from tests.checkout import CHECKOUT

# Some tests let a disk be full. Python writes compiled code without a look at how much of it was
# written, and would find half of it from then on, in the test run and after it.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

# The native engine is compiled once for all test runs, outside of the user's own cache.
os.environ.setdefault("MEMTX_CACHE", str(CHECKOUT / "build" / "engine"))

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that;
# the tests of interruptions need it answered.
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)
logging.getLogger("filelock").setLevel(logging.WARNING)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Start every test from the same random state, whatever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)
    yield


@pytest.fixture(autouse=True)
def _fairseq_heard() -> Iterator[None]:
    """Give fairseq's log its level back, which our commands raise, in fixtures too."""
    logging.getLogger("fairseq").setLevel(logging.NOTSET)
    yield


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of one test run share."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


def run_once(done: Path, command: list[str], cwd: Path) -> None:
    """Run a command that leaves `done`, unless another worker has already done so."""
    with FileLock(f"{done.parent}.lock"):
        if not done.exists():
            ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            done.touch()


@pytest.fixture(scope="session")
def prepared_sample(shared_tmp: Path) -> Path:
    """A small sample corpus, prepared once per test run: read it, never write to it.

    393 training pairs, 408 symbols; `bin/` is what fairseq reads, `refs/` the untouched text.
    """
    out = shared_tmp / "prepared_sample"
    command = [sys.executable, "-m", "data_prep", "sample", "--out", str(out)]
    run_once(
        out / "done",
        [*command, "--documents", "40", "--seed", "7", "--vocab-size", "400"],
        CHECKOUT,
    )
    return out


@pytest.fixture(scope="session")
def tiny_checkpoints(
    prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A checkpoint of two decoder layers for each decoder, on the sample's dictionary."""
    from tests.checkpoints import write_checkpoint

    folder = tmp_path_factory.mktemp("tiny")
    return {
        decoder: write_checkpoint(prepared_sample / "bin", folder / f"{decoder}.pt", decoder, 2)
        for decoder in ("transformer", "feedback")
    }


@pytest.fixture(scope="session")
def wheel(shared_tmp: Path) -> Path:
    """Our wheel, built once per test run from a copy of the sources, as pip builds it."""
    out = shared_tmp / "wheel"
    with FileLock(shared_tmp / "sources.lock"):
        if not (out / "sources").exists():
            copy_sources(out / "sources")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", ".", "./sources"]
    run_once(out / "done", command, out)
    (path,) = out.glob("*.whl")
    return path


def copy_sources(to: Path) -> None:
    to.mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, to)
    for package in ("fairseq_memtx", "data_prep", "scripts", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / package, to / package, ignore=ignored)
