"""Fixtures of the data preparation's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.cli import main
from tests.data_prep.texts import write_splits

VOCAB_SIZE = "120"

Prepare = Callable[..., int]


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Path]:
    """Prefixes of small made-up sets without document ids."""
    return write_splits(tmp_path / "text")


@pytest.fixture
def prepare(splits: dict[str, Path], tmp_path: Path) -> Prepare:
    """Run ``parallel`` on ``splits`` into ``tmp_path / "out"`` with further flags."""

    def run(*flags: str, out: Path = tmp_path / "out", workers: int = 1) -> int:
        words = ["parallel", "--out", str(out), "--vocab-size", VOCAB_SIZE]
        words += ["--workers", str(workers)]
        for split, prefix in splits.items():
            if f"--{split}" not in flags and f"--{split}-sgm" not in flags:
                words += [f"--{split}", str(prefix)]
        return main([*words, *flags])

    return run
