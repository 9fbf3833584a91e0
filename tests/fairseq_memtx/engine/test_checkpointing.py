"""The recurrence run again in pieces for the backward: same values and gradients, less memory."""

from dataclasses import replace

import pytest
import torch

from fairseq_memtx.engine import ENGINES
from tests.fairseq_memtx.engine.stacks import Case, Stack, random_loss

manual, reference = ENGINES["manual"], ENGINES["reference"]

CARRYING = {
    "all": Case(carried=4),
    "some rows begin anew": Case(carried=4, anew=True, pre_norm=True),
    "per-layer": Case(carried=3, layers=3, memory={"shared_kv": False}),
    "layer dropped": Case(
        carried=3, layers=3, memory={"shared_kv": False}, dropped=frozenset({1}), probs_layer=0
    ),
    "span 1": Case(carried=1, memory={"span": 1}),
    "span 3": Case(carried=3, memory={"span": 3}, length=7),
    "carried beyond the span": Case(carried=5, memory={"span": 3}, length=7),
    "span 17": Case(carried=17, memory={"span": 17}, length=4),
    "relative positions": Case(carried=6, memory={"num_distances": 4}),
    "long": Case(carried=21, length=18, padding="left", anew=True),
    "one position": Case(carried=3, length=1),
}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", CARRYING)
def test_the_manual_engine_gives_carried_memories_the_gradients_of_the_reference(name, dropout):
    stack, found = Stack(replace(CARRYING[name], dropout=dropout)), []
    leaves = [x.requires_grad_() for x in (stack.past.keys, stack.past.values)]
    for engine in (manual, reference):
        loss = random_loss(engine(stack.recurrence()))
        found.append(torch.autograd.grad(loss, leaves))
    assert found[1][1].abs().max() > 0
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
