"""The fused steps of Transformer-XL against its own, in float64: segments, memories of before,
positions of both kinds, while beams move and sentences leave.
"""

import itertools
from typing import Any

import pytest
import torch

from fairseq_memtx.decoding.beam_search import Move
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentMemory
from fairseq_memtx.plain.segment_steps import SegmentSteps
from tests.choosing import some
from tests.fairseq_memtx.generation.stepping import BEFORE, follow, steppers
from tests.fairseq_memtx.tiny import build_model

KINDS: dict[str, dict[str, Any]] = {
    "short": {"memtx_segment_len": 3, "memtx_mem_len": 2},
    "long memory": {"memtx_segment_len": 2, "memtx_mem_len": 40},
    "no memory": {"memtx_segment_len": 4, "memtx_mem_len": 0},
    "one segment": {"memtx_segment_len": 100, "memtx_mem_len": 3},
    "same length": {"memtx_segment_len": 3, "memtx_mem_len": 4, "memtx_same_length": True},
    "learned": {
        "memtx_segment_len": 4,
        "memtx_mem_len": 4,
        "memtx_position_keys": "learned",
        "memtx_max_distance": 5,
    },
    "clamped": {"memtx_segment_len": 4, "memtx_mem_len": 5, "memtx_clamp_len": 3},
    "other memory in decoding": {
        "memtx_segment_len": 3,
        "memtx_mem_len": 2,
        "memtx_eval_mem_len": 6,
        "decoder_layers": 3,
    },
}


def build(kind: str, **settings: Any) -> Any:
    """A tiny model; u and v are large enough to be missed."""
    model = build_model("memtx_transformer_xl", **KINDS[kind], **settings)
    with torch.no_grad():
        for layer in model.decoder.all_layers():
            for bias in (
                layer.self_attn.positions.content_bias,
                layer.self_attn.positions.position_bias,
            ):
                if bias is not None:
                    bias.normal_()
    assert isinstance(model.decoder, SegmentSteps) and model.decoder.why_not_fused() is None
    return model


def memory_of(decoder: Any, lengths: tuple[int, ...] | None) -> SegmentMemory | None:
    """Random states, the absent among them full of what nobody may see."""
    if lengths is None:
        return None
    hidden = torch.arange(max(lengths)) < max(lengths) - torch.tensor(lengths)[:, None]
    layers = []
    for _ in decoder.all_layers():
        states = torch.randn(len(lengths), max(lengths), 8, dtype=torch.float64)
        recent_hidden = hidden if bool(hidden.any()) else None
        layers.append(LayerMemory(states, states[:, :0], recent_hidden))
    return SegmentMemory(layers)


@pytest.mark.parametrize(
    ("kind", "before", "beam"), some(itertools.product(KINDS, BEFORE, [1, 3]), 7)
)
def test_the_fused_steps_are_the_decoders_own(kind: str, before: str, beam: int) -> None:
    for seed, pre_norm in ((1, False), (2, True)):
        model = build(kind, seed=seed, decoder_normalize_before=pre_norm)
        memory = memory_of(model.decoder, BEFORE[before])
        follow(steppers(model, beam, memory), beam)


@pytest.mark.parametrize("before", ["equal", "unequal"])
def test_what_was_before_matters_but_what_is_absent_does_not(before: str) -> None:
    model = build("short")
    lengths = BEFORE[before]
    memory, tokens = memory_of(model.decoder, lengths), torch.tensor([4, 5, 6])
    assert memory is not None and lengths is not None
    found = steppers(model, 2, memory)[0].score_next(tokens)[0]
    empty = steppers(model, 2, None)[0].score_next(tokens)[0]
    differs = [not torch.equal(a, b) for a, b in zip(found, empty, strict=True)]
    assert differs == [length > 0 for length in lengths]
    for of_layer in memory.layers:
        if of_layer.recent_hidden is not None:
            of_layer.recent.masked_fill_(of_layer.recent_hidden[:, :, None], 1e3)
    assert torch.equal(found, steppers(model, 2, memory)[0].score_next(tokens)[0])


def test_room_beyond_the_memory_is_used_again() -> None:
    stepper, generator = steppers(build("short"), 3, None)[0], torch.Generator().manual_seed(3)
    lengths, rows = [], 1
    for _ in range(200):
        stepper.score_next(torch.randint(4, 12, (3 * rows,), generator=generator))
        stepper.move(Move(torch.randint(0, rows, (3, 3), generator=generator), None))
        lengths.append(stepper.search.past.length)
        rows = 3
    assert max(lengths[100:]) <= max(lengths[:100]) < 100 < 3 * 200


@pytest.mark.parametrize(
    ("arch", "settings", "reason"),
    [
        ("memtx_compressive", {"memtx_cmem_len": 2}, "a compressed memory has no fused form"),
        (
            "memtx_transformer_xl",
            {"memtx_memory_layers": "1"},
            "not all of its layers have a memory",
        ),
    ],
)
def test_what_has_no_fused_form_is_known(arch: str, settings: dict, reason: str) -> None:
    model = build_model(arch, memtx_segment_len=4, memtx_mem_len=4, **settings)
    assert model.eval().decoder.why_not_fused() == reason


def test_without_room_for_a_compressed_memory_there_is_a_fused_form() -> None:
    settings = {"memtx_segment_len": 4, "memtx_mem_len": 4, "memtx_cmem_len": 0}
    model = build_model("memtx_compressive", **settings)
    follow(steppers(model, 2, memory_of(model.decoder, (5, 0, 2))), 2)
