"""The engine's search against the Python search, models, batches and options drawn at random."""

from typing import Any

import pytest

from tests.fairseq_memtx.native.compare import compare_one

FEW = 25
MANY, CHUNK = 3225, 100


@pytest.mark.parametrize("seed", range(FEW))
def test_the_engine_finds_what_the_python_search_finds(seed: int, engine: Any) -> None:
    watched = compare_one(seed)
    assert watched.num_found == 1 or watched.reasons


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FEW, MANY, CHUNK))
def test_the_engine_finds_what_the_python_search_finds_many_times(first: int, engine: Any) -> None:
    """At the level that `$MEMTX_NATIVE_LEVEL` names, or the best."""
    num_found = 0
    for seed in range(first, first + CHUNK):
        try:
            num_found += compare_one(seed).num_found
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
    assert num_found > CHUNK / 2
