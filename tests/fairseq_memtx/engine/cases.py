"""Stacks of all kinds to compare engines on, and how far rounding takes them."""

import random

import torch
import torch.nn.functional as F

from tests.fairseq_memtx.engine.stacks import (
    Case,
    gradients,
    random_loss,
)

CASES = {
    "plain": Case(),
    "pre-norm": Case(pre_norm=True),
    "one layer": Case(layers=1),
    "four layers": Case(layers=4, pre_norm=True),
    "one position": Case(length=1),
    "two positions": Case(length=2, pre_norm=True),
    "beyond the narrowest window": Case(length=19, padding="left"),
    "one sentence": Case(batch=1, padding=None),
    "no padding": Case(padding=None, source_padding=False),
    "left padding": Case(padding="left", pre_norm=True),
    "padding on both sides": Case(padding="both", batch=4, length=7),
    "no cross-attention": Case(cross=False),
    "no cross-attention, pre-norm": Case(cross=False, pre_norm=True, layers=3),
    "no alignment": Case(probs_layer=None),
    "per-layer": Case(memory={"shared_kv": False}, layers=3),
    "span 1": Case(memory={"span": 1}),
    "span 3, long": Case(memory={"span": 3}, length=12, padding="left"),
    "span 17, long": Case(memory={"span": 17}, length=21),
    "span beyond the target": Case(memory={"span": 50}),
    "mean": Case(memory={"mixture": "mean"}),
    "first": Case(memory={"mixture": "first"}, pre_norm=True),
    "last": Case(memory={"mixture": "last"}),
    "state 1": Case(memory={"mixture": "1"}),
    "routed": Case(memory={"mixture": "routed"}),
    "routed, one position": Case(memory={"mixture": "routed"}, length=1),
    "routed, pre-norm, layers dropped": Case(
        memory={"mixture": "routed"}, layers=4, pre_norm=True, dropped=frozenset({1, 2}), carried=2
    ),
    "channels": Case(memory={"channels": 2}, layers=3),
    "channels, all layers of one dropped": Case(
        memory={"channels": 2}, layers=3, pre_norm=True, dropped=frozenset({0, 2})
    ),
    "channels, per-layer, span": Case(
        memory={"channels": 2, "shared_kv": False, "span": 2}, layers=4, carried=3, anew=True
    ),
    "channels, mean": Case(memory={"channels": 3, "mixture": "mean"}, layers=3),
    "routed channels": Case(
        memory={"mixture": "routed", "channels": 2}, layers=3, padding="left", length=9
    ),
    "routed channels, all layers of one dropped": Case(
        memory={"mixture": "routed", "channels": 3}, layers=4, dropped=frozenset({1, 2}), carried=3
    ),
    "routed channels, per-layer, relative positions": Case(
        memory={"mixture": "routed", "channels": 2, "shared_kv": False, "num_distances": 4},
        layers=3,
        pre_norm=True,
    ),
    "routed, a channel for each layer": Case(
        memory={"mixture": "routed", "channels": 4}, layers=4, cross=False
    ),
    "relative positions": Case(memory={"num_distances": 3}),
    "relative positions, all distances": Case(memory={"num_distances": 40}, length=18),
    "relative positions, span, per-layer": Case(
        memory={"num_distances": 9, "span": 3, "shared_kv": False}, padding="left"
    ),
    "tanh": Case(activation=torch.tanh),
    "gelu": Case(activation=F.gelu, pre_norm=True),
    "first layer dropped": Case(layers=3, dropped=frozenset({0}), probs_layer=1),
    "last layer dropped": Case(layers=3, dropped=frozenset({2}), memory={"shared_kv": False}),
    "all layers dropped": Case(dropped=frozenset({0, 1})),
    "carried": Case(carried=3),
    "carried, one position": Case(carried=4, length=1),
    "carried, some begin anew": Case(carried=3, anew=True, pre_norm=True),
    "carried, all but some begin anew, no padding": Case(carried=20, anew=True, padding=None),
    "carried, left padding": Case(carried=5, anew=True, padding="left"),
    "carried, per-layer, layer dropped": Case(
        carried=4, layers=3, memory={"shared_kv": False}, dropped=frozenset({1})
    ),
    "carried, span within the target": Case(carried=4, memory={"span": 2}, length=7),
    "carried, span beyond": Case(carried=6, memory={"span": 5}, length=9, anew=True),
    "carried, wide span": Case(carried=18, memory={"span": 17}, length=21, padding="left"),
    "carried, relative positions": Case(carried=4, memory={"num_distances": 5}, anew=True),
    "carried, relative positions, span, per-layer": Case(
        carried=3, memory={"num_distances": 9, "span": 4, "shared_kv": False}, padding=None
    ),
}


def random_case(seed: int) -> Case:
    """Options drawn at random, all kinds together."""
    draw = random.Random(seed)
    layers = draw.randint(1, 4)
    mixtures = ["softmax", "routed", "routed", "mean", "last", str(draw.randint(0, layers))]
    return Case(
        layers=layers,
        length=draw.choice([1, 2, 5, 9, 17, 23]),
        batch=draw.randint(1, 4),
        pre_norm=draw.random() < 0.5,
        cross=draw.random() < 0.8,
        dropout=draw.choice([0.0, 0.4]),
        activation=draw.choice([F.relu, F.silu, torch.tanh, torch.relu]),
        padding=draw.choice([None, "left", "right", "both"]),
        source_padding=draw.random() < 0.5,
        dropped=frozenset(i for i in range(layers) if draw.random() < 0.15),
        carried=draw.choice([0, 0, 1, 3, 20]),
        anew=draw.random() < 0.5,
        probs_layer=draw.choice([None, 0, layers - 1]),
        memory={
            "mixture": draw.choice(mixtures),
            "channels": draw.choice([1, 1, draw.randint(1, layers)]),
            "shared_kv": draw.random() < 0.5,
            "span": draw.choice([0, 0, 1, 4, 16, 20, 99]),
            "num_distances": draw.choice([0, 0, 1, 5, 30]),
        },
    )


def relative_errors(engine, stack, exact, autocast=None):
    """The distance of each gradient from the exact one, relative to its length.

    The bias of the source's keys has no influence: its gradient is nothing but rounding.
    """
    with torch.autocast("cpu", autocast, enabled=autocast is not None):
        out = engine(stack.recurrence())
    found = gradients(random_loss(out), stack)
    return {
        name: float((found[name] - grad).norm() / (grad.norm() + 1))
        for name, grad in exact.items()
        if not name.endswith("encoder_attn.k_proj.bias")
    }
