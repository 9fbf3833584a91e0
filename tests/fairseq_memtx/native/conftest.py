"""The engine, compiled once for all tests that want it."""

import pytest

from fairseq_memtx.native import library


@pytest.fixture(scope="session")
def engine() -> tuple[library.Library, str]:
    """The library and the best level of this processor."""
    return library.loaded()
