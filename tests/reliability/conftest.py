"""Fixtures of the tests that throw faults at the commands."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairseq_memtx.native import library
from tests.checkpoints import write_scattered
from tests.reliability.tally import Tally


@pytest.fixture(scope="session")
def scattered(tiny_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose translations differ from line to line."""
    path = tmp_path_factory.mktemp("scattered") / "model.pt"
    return write_scattered(tiny_checkpoints["feedback"], path)


@pytest.fixture(scope="session")
def engine() -> tuple[library.Library, str]:
    """The native engine, compiled."""
    return library.loaded()


@pytest.fixture(scope="session")
def data_bin(prepared_sample: Path) -> Path:
    """The binarised sample: read it, never write to it."""
    return prepared_sample / "bin"


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Iterator[Tally]:
    """Counts the tries of a test that makes several."""
    counted = Tally(record_property)
    yield counted
    counted.close()


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of `faults.c`, for LD_PRELOAD."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).with_name("faults.c")
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library
