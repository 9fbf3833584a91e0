"""Modules are built without drawing numbers, and are the same otherwise."""

import torch
from torch import nn

from fairseq_memtx.modules.attention import attention_linear
from fairseq_memtx.plain.unfilled import Unfilled


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Embedding(5, 3, 1), attention_linear(4, 4))


def test_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    with Unfilled():
        made = build()
    assert torch.equal(torch.get_rng_state(), before)
    assert made[1].weight[1].eq(0).all()  # what is not drawn is there
    wanted = build()
    assert not torch.equal(torch.get_rng_state(), before)
    made.load_state_dict(wanted.state_dict())
    assert all(
        torch.equal(a, b) for a, b in zip(made.parameters(), wanted.parameters(), strict=True)
    )
