"""Our search against fairseq's with models, batches and options drawn at random, many at once.

Options that agree with fairseq one by one may not do so together.
"""

from random import Random
from typing import Any

import pytest
import torch

from fairseq_memtx.generation.steppers import why_not_fused
from tests.fairseq_memtx.generation.comparisons import check
from tests.fairseq_memtx.generation.draws import draw_batch, draw_model, draw_options

FEW = 25
MANY = 500


def compare(seed: int) -> list[Any]:
    """One comparison; the models that were searched with."""
    random = Random(seed)
    torch.manual_seed(seed)
    models = [draw_model(random, 3 * seed + i) for i in range(random.choice([1, 1, 1, 2, 3]))]
    batch = draw_batch(random)
    check(models, batch, **draw_options(random, len(batch["id"])))
    return models


@pytest.mark.parametrize("seed", range(FEW))
def test_options_together_find_what_fairseqs_generator_finds(seed):
    compare(seed)


@pytest.mark.slow
def test_many_options_together_find_what_fairseqs_generator_finds():
    searched = [model for seed in range(FEW, MANY) for model in compare(seed)]
    assert {why_not_fused(model.decoder) is None for model in searched} == {False, True}
