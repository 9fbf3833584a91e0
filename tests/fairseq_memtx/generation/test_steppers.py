"""The fused steps of the Feedback decoder against its own, in float64: spans, distances, and what
was before the sentence, while beams move and sentences leave.
"""

import itertools
from typing import Any

import pytest
import torch

from fairseq_memtx.modules.carried_memory import CarriedMemory
from fairseq_memtx.plain.feedback_steps import FeedbackSteps
from tests.choosing import some
from tests.fairseq_memtx.generation.stepping import BEFORE, follow, steppers
from tests.fairseq_memtx.tiny import build_model

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "span": {"memtx_memory_span": 3},
    "span of one": {"memtx_memory_span": 1},
    "distances": {"memtx_relative_positions": 3},
    "span and distances": {"memtx_memory_span": 4, "memtx_relative_positions": 6},
    "channels": {
        "memtx_memory_span": 3,
        "memtx_relative_positions": 2,
        "memtx_memory_channels": 2,
        "memtx_memory_kv": "per-layer",
        "decoder_layers": 3,
    },
}


def carried(decoder: Any, lengths: tuple[int, ...]) -> CarriedMemory:
    """Random memories, hidden ones among them full of what nobody may see."""
    pairs, heads = len(decoder.memory.k_proj), decoder.memory.num_heads
    size = decoder.memory.k_proj[0].weight.size(0) // heads
    shape = (pairs, len(lengths), heads, max(lengths), size)
    keys, values = torch.randn(2, *shape, dtype=torch.float64)
    hidden = torch.arange(max(lengths)) < max(lengths) - torch.tensor(lengths)[:, None]
    return CarriedMemory(keys, values, hidden if bool(hidden.any()) else None)


@pytest.mark.parametrize(
    ("kind", "before", "beam"), some(itertools.product(KINDS, BEFORE, [1, 3]), 5)
)
def test_the_fused_steps_are_the_decoders_own(kind: str, before: str, beam: int) -> None:
    for seed, pre_norm in ((1, False), (2, True)):
        model = build_model(seed=seed, decoder_normalize_before=pre_norm, **KINDS[kind])
        assert isinstance(model.decoder, FeedbackSteps) and model.decoder.why_not_fused() is None
        lengths = BEFORE[before]
        memory = None if lengths is None else carried(model.decoder, lengths)
        follow(steppers(model, beam, memory), beam)


@pytest.mark.parametrize("before", ["equal", "unequal"])
def test_what_was_before_matters_but_what_is_hidden_does_not(before: str) -> None:
    model = build_model(**KINDS["span and distances"])
    lengths = BEFORE[before]
    assert lengths is not None
    memory, tokens = carried(model.decoder, lengths), torch.tensor([4, 5, 6])
    found = steppers(model, 2, memory)[0].score_next(tokens)[0]
    empty = steppers(model, 2, None)[0].score_next(tokens)[0]
    differs = [not torch.equal(a, b) for a, b in zip(found, empty, strict=True)]
    assert differs == [length > 0 for length in lengths]
    if memory.hidden is not None:
        for entries in (memory.keys, memory.values):
            entries.masked_fill_(memory.hidden[None, :, None, :, None], 1e3)
        assert torch.equal(found, steppers(model, 2, memory)[0].score_next(tokens)[0])
