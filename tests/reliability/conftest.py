"""Fixtures of the tests that throw faults at the commands."""

from pathlib import Path

import pytest

from tests.checkpoints import write_scattered


@pytest.fixture(scope="session")
def scattered(tiny_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose translations differ from line to line."""
    path = tmp_path_factory.mktemp("scattered") / "model.pt"
    return write_scattered(tiny_checkpoints["feedback"], path)


@pytest.fixture(scope="session")
def data_bin(prepared_sample: Path) -> Path:
    """The binarised sample: read it, never write to it."""
    return prepared_sample / "bin"
