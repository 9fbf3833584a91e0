"""The Feedback decoder against the paper's equations as plain loops: values and gradients."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairseq_memtx.engine import ENGINES, Recurrence
from fairseq_memtx.modules import feedback as feedback_module
from fairseq_memtx.modules.channels import Wiring
from fairseq_memtx.plain.memory_steps import as_source
from tests.fairseq_memtx.models.feedback_oracle import (
    EXACT,
    FIXED_PROBS,
    affine,
    embed_target,
    layer_norm,
    naive,
    same_gradients,
)
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens

TARGET_LENGTHS, SOURCE_LENGTHS = [3, 4, 5], [4, 5, 1]

CASES: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"decoder_normalize_before": True},
    "one layer": {"decoder_layers": 1},
    "three layers, pre-norm": {"decoder_layers": 3, "decoder_normalize_before": True},
    "mean": {"memtx_memory_mixture": "mean"},
    "first": {"memtx_memory_mixture": "first", "decoder_normalize_before": True},
    "last": {"memtx_memory_mixture": "last"},
    "state 1": {"memtx_memory_mixture": "1"},
    "routed": {"memtx_memory_mixture": "routed", "decoder_normalize_before": True},
    "channels": {"memtx_memory_channels": 2, "decoder_layers": 3},
    "routed channels, per-layer": {
        "memtx_memory_mixture": "routed",
        "memtx_memory_channels": 2,
        "memtx_memory_kv": "per-layer",
        "decoder_layers": 3,
    },
    "per-layer": {"memtx_memory_kv": "per-layer"},
    "per-layer, pre-norm": {"memtx_memory_kv": "per-layer", "decoder_normalize_before": True},
    "span 1": {"memtx_memory_span": 1},
    "span 2": {"memtx_memory_span": 2, "memtx_memory_kv": "per-layer"},
    "span beyond the target": {"memtx_memory_span": 50},
    "relative positions": {"memtx_relative_positions": 2},
    "relative positions, span": {"memtx_relative_positions": 9, "memtx_memory_span": 3},
    "no cross-attention": {"no_cross_attention": True, "decoder_normalize_before": True},
    "tanh": {"activation_fn": "tanh"},
}


def check_stack_equals_oracle(
    decoder: Any, sides: str | None, masks: Any = (), left_out: frozenset[int] = frozenset()
) -> None:
    """States, cross-attention and all gradients of the recurrence equal the oracle's."""
    target_padding = None if sides is None else random_tokens(TARGET_LENGTHS, sides).eq(1)
    length, batch = max(TARGET_LENGTHS), len(TARGET_LENGTHS)
    inputs = torch.randn(length, batch, decoder.embed_dim, dtype=torch.float64, requires_grad=True)
    encoder_out = random_source(SOURCE_LENGTHS, requires_grad=True)
    memory, padding = encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
    source = None if decoder.cfg.no_cross_attention else as_source(encoder_out)
    out = ENGINES["reference"](
        Recurrence(
            layers=[None if i in left_out else x for i, x in enumerate(decoder.layers)],
            memory=decoder.memory,
            inputs=inputs,
            sources=decoder.read_source(source),
            padding_mask=target_padding,
            masks=masks,
            probs_layer=0,
        )
    )
    expected, probs = naive(decoder, left_out=left_out).run(
        inputs,
        None if source is None else memory,
        padding,
        target_padding,
        [layer._asdict() for layer in masks] or None,
    )
    states = torch.stack(out.states)
    torch.testing.assert_close(states, expected, **EXACT)
    leaves = {"inputs": inputs, **dict(decoder.named_parameters())}
    weight = torch.randn_like(states)
    loss, wanted = (states * weight).sum(), (expected * weight).sum()
    if source is not None and 0 not in left_out:
        # [b][t] of (H, S) -> (H, B, T, S)
        wanted_probs = torch.stack([torch.stack([t[0] for t in b]) for b in probs]).permute(
            2, 0, 1, 3
        )
        torch.testing.assert_close(out.cross_probs, wanted_probs, **EXACT)
        weight = torch.randn_like(wanted_probs)
        loss = loss + (out.cross_probs * weight).sum()
        wanted = wanted + (wanted_probs * weight).sum()
        leaves["encoder_out"] = memory
    same_gradients(loss, wanted, leaves)


@pytest.mark.parametrize("case", CASES)
def test_states_and_gradients_equal_the_equations(case):
    check_stack_equals_oracle(build_model(**CASES[case]).decoder, "both")


@pytest.mark.parametrize("case", ["post-norm", "span 2", "relative positions"])
def test_states_and_gradients_equal_the_equations_without_padding(case):
    check_stack_equals_oracle(build_model(**CASES[case]).decoder, None)


@pytest.mark.parametrize(
    "case",
    [
        "post-norm",
        "per-layer, pre-norm",
        "span 2",
        "relative positions",
        "routed channels, per-layer",
    ],
)
def test_states_and_gradients_equal_the_equations_under_dropout(case):
    decoder = build_model(
        dropout=0.3, attention_dropout=0.2, activation_dropout=0.4, **CASES[case]
    ).decoder.train()
    x = torch.zeros(max(TARGET_LENGTHS), len(TARGET_LENGTHS), 8, dtype=torch.float64)
    masks = list(decoder.draw_masks(x, source_len=max(SOURCE_LENGTHS), memory_len=len(x)))
    assert all(mask is not None for layer in masks for mask in layer)
    check_stack_equals_oracle(decoder, "both", masks)


ROUTED_CHANNELS = {"memtx_memory_mixture": "routed", "memtx_memory_channels": 2}


@pytest.mark.parametrize("memory", [{"memtx_memory_kv": "per-layer"}, ROUTED_CHANNELS])
@pytest.mark.parametrize("left_out", [{0}, {1}, {0, 2}, {0, 1, 2}])
def test_a_dropped_layer_passes_its_state_and_keeps_its_number_in_the_mixture(left_out, memory):
    decoder = build_model(decoder_layers=3, **memory).decoder
    check_stack_equals_oracle(decoder, "right", left_out=frozenset(left_out))


@given(
    mixture=st.sampled_from(["softmax", "routed", *FIXED_PROBS]),
    channels=st.integers(1, 2),
    kv=st.sampled_from(["shared", "per-layer"]),
    span=st.integers(0, 6),
    distances=st.integers(0, 6),
    pre_norm=st.booleans(),
    no_cross=st.booleans(),
    sides=st.sampled_from([None, "left", "right"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_combination_of_options_equals_the_equations(
    mixture, channels, kv, span, distances, pre_norm, no_cross, sides, seed
):
    model = build_model(
        seed=seed,
        memtx_memory_mixture=mixture,
        memtx_memory_channels=channels,
        memtx_memory_kv=kv,
        memtx_memory_span=span,
        memtx_relative_positions=distances,
        decoder_normalize_before=pre_norm,
        no_cross_attention=no_cross,
    )
    check_stack_equals_oracle(model.decoder, sides)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", None])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_the_decoder_from_tokens_to_logits_equals_the_equations(positions, pre_norm):
    decoder = build_model(
        decoder_normalize_before=pre_norm,
        decoder_learned_pos=positions == "learned",
        no_token_positional_embeddings=positions is None,
    ).decoder
    tokens, encoder_out = random_tokens(TARGET_LENGTHS, "both"), random_source(SOURCE_LENGTHS)
    logits, extra = decoder(tokens, encoder_out)
    weights = dict(decoder.named_parameters())
    inputs = embed_target(weights, tokens, decoder.padding_idx, positions=positions)
    source, padding = encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
    states, probs = naive(decoder).run(inputs, source, padding, tokens.eq(decoder.padding_idx))
    # fairseq keeps its sinusoids in float32
    close = {"rtol": 1e-5, "atol": 1e-5} if positions == "sinusoidal" else EXACT
    torch.testing.assert_close(torch.stack(extra["inner_states"]), states, **close)
    attn = torch.stack([torch.stack([t[-1].mean(dim=0) for t in b]) for b in probs])
    torch.testing.assert_close(extra["attn"][0], attn, **close)
    table = weights["output_projection.weight"]
    for t in range(tokens.size(1)):
        for b in range(tokens.size(0)):
            x = states[-1, t, b]
            x = layer_norm(weights, "layer_norm", x) if pre_norm else x
            torch.testing.assert_close(logits[b, t], table @ x, **close)
    if positions != "sinusoidal":
        same_gradients(extra["inner_states"][-1].square().sum(), states[-1].square().sum(), weights)


def test_alignment_layer_and_heads_choose_what_is_averaged(tiny_decoder):
    decoder = tiny_decoder(decoder_layers=3)
    tokens, encoder_out = random_tokens([4, 2]), random_source([3, 5])
    source, padding = encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
    inputs = decoder.embed(tokens, None)
    _, probs = naive(decoder).run(inputs, source, padding, tokens.eq(decoder.padding_idx))
    _, extra = decoder(tokens, encoder_out, alignment_layer=1, alignment_heads=1)
    first_head = torch.stack([torch.stack([t[1][0] for t in b]) for b in probs])
    torch.testing.assert_close(extra["attn"][0], first_head, **EXACT)


# Negative controls: each breaks the model in a way that public code is known to, and the very same
# check must notice.


def test_the_check_notices_a_memory_that_is_not_normalised(tiny_decoder):
    decoder = tiny_decoder(decoder_normalize_before=True)
    decoder.memory.layer_norm.forward = lambda x: x
    with pytest.raises(AssertionError):
        check_stack_equals_oracle(decoder, "right")


def test_the_check_notices_a_memory_that_is_normalised_twice(tiny_decoder):
    decoder = tiny_decoder(decoder_normalize_before=True)
    norm = decoder.memory.layer_norm.forward
    decoder.memory.layer_norm.forward = lambda x: norm(norm(x))
    with pytest.raises(AssertionError):
        check_stack_equals_oracle(decoder, "right")


def test_the_check_notices_a_mixture_without_its_softmax(tiny_decoder):
    decoder = tiny_decoder()
    decoder.memory.mixture.probs = lambda: decoder.memory.mixture.weight
    with pytest.raises(AssertionError):
        check_stack_equals_oracle(decoder, "right")


def test_the_check_notices_layers_that_read_the_wrong_channel(tiny_decoder):
    decoder = tiny_decoder(memtx_memory_channels=2)
    check_stack_equals_oracle(decoder, "right")
    decoder.memory.wiring = Wiring(layers=(1, 0), pairs=(0, 1))
    with pytest.raises(AssertionError):
        check_stack_equals_oracle(decoder, "right")


def test_the_check_notices_routed_weights_of_another_position(tiny_decoder):
    decoder = tiny_decoder(memtx_memory_mixture="routed")
    shares = decoder.memory.mixture.shares
    decoder.memory.mixture.shares = lambda states: shares([x.roll(1, 0) for x in states])
    with pytest.raises(AssertionError):
        check_stack_equals_oracle(decoder, None)


def test_the_check_notices_target_padding_that_is_attended_to(tiny_decoder, monkeypatch):
    views = feedback_module.FeedbackMemory.views
    monkeypatch.setattr(
        feedback_module.FeedbackMemory, "views", lambda self, k, v, mask: views(self, k, v, None)
    )
    check_stack_equals_oracle(tiny_decoder(), None)
    with pytest.raises(AssertionError):
        check_stack_equals_oracle(tiny_decoder(), "left")


def test_the_check_notices_distances_that_are_off_by_one(tiny_decoder):
    decoder = tiny_decoder(memtx_relative_positions=4)
    position_keys = decoder.memory.position_keys
    decoder.memory.position_keys = lambda entries: position_keys(entries + 1)[:-1]
    with pytest.raises(AssertionError):
        check_stack_equals_oracle(decoder, None)


def test_the_check_notices_gradients_that_stop_at_the_memory(tiny_decoder):
    decoder = tiny_decoder()
    mix = decoder.memory.mixture.forward
    decoder.memory.mixture.forward = lambda states: mix([x.detach() for x in states])
    with pytest.raises(AssertionError):
        check_stack_equals_oracle(decoder, None)


def test_the_oracle_normalises_and_projects_as_torch_does():
    norm, linear = torch.nn.LayerNorm(6).double(), torch.nn.Linear(6, 4).double()
    weights = {f"n.{k}": v for k, v in norm.named_parameters()}
    weights |= {f"f.{k}": v for k, v in linear.named_parameters()}
    x = torch.randn(6, dtype=torch.float64)
    torch.testing.assert_close(layer_norm(weights, "n", x), norm(x), **EXACT)
    torch.testing.assert_close(affine(weights, "f", x), linear(x), **EXACT)
