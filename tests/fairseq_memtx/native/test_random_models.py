"""The engine's search against the Python search, models, batches and options drawn at random."""

from random import Random
from typing import Any

import pytest
import torch

from tests.fairseq_memtx.generation import draws
from tests.fairseq_memtx.native import compare

FEW = 25
MANY, CHUNK = 3225, 100


def compare_one(seed: int) -> compare.Watched:
    """One comparison; what the engine did."""
    random = Random(seed)
    torch.manual_seed(seed)
    number = random.choice([1, 1, 1, 2, 3])
    models = [compare.final(draws.draw_model(random, 3 * seed + i)) for i in range(number)]
    batch = draws.draw_batch(random)
    options: dict[str, Any] = draws.draw_options(random, len(batch["id"]))
    options = {name: value for name, value in options.items() if name != "align" or value}
    return compare.check(models, batch, compare.Watched(threads=1 + seed % 3), **options)


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
