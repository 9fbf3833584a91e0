"""Models without fairseq equal fairseq's in float64: whole, step by step, reordered and padded."""

from typing import Any

import pytest
import torch

from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.plain.rebuilt import pair
from tests.fairseq_memtx.tiny import random_tokens

DECODERS = ("transformer", "feedback", "transformer-xl", "compressive")
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pre-norm": {"encoder_normalize_before": True, "decoder_normalize_before": True},
    "learned positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "no positions": {"no_token_positional_embeddings": True},
    "embedding norm": {"layernorm_embedding": True, "no_scale_embedding": True},
    "other output dim": {"decoder_output_dim": 4},
    "shared output": {"share_decoder_input_output_embed": True},
    "all shared": {"share_all_embeddings": True, "encoder_embed_dim": 8},
    "gelu": {"activation_fn": "gelu_accurate"},
}
ROUNDING = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(autouse=True)
def _in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """fairseq's probabilities are in float32 at some places, whatever the model's are."""
    monkeypatch.setattr("fairseq.utils.softmax", lambda x, dim, **unused: x.softmax(dim))


def cases() -> list[Any]:
    """Every setting with the Transformer, and those that a memory decoder can have with one."""
    made = [("transformer", name) for name in SETTINGS]
    made += [(decoder, name) for decoder in DECODERS[1:] for name in ("plain", "pre-norm")]
    made += [("feedback", name) for name in ("learned positions", "other output dim", "all shared")]
    return [
        pytest.param(decoder, SETTINGS[name], id=f"{decoder}, {name}") for decoder, name in made
    ]


def batch() -> dict[str, torch.Tensor]:
    source = random_tokens([5, 2, 4, 3], "left")
    return {
        "src_tokens": source,
        "src_lengths": torch.tensor([5, 2, 4, 3]),
        "prev_output_tokens": random_tokens([9, 4, 1, 6]),
    }


@pytest.mark.parametrize("decoder, settings", cases())
@torch.no_grad()
def test_a_whole_target(decoder: str, settings: dict[str, Any]) -> None:
    stock, ours = pair(decoder, **settings)
    net_input = batch()
    (want, more), (got, extra) = stock(**net_input), ours(**net_input)
    real = net_input["prev_output_tokens"].ne(stock.decoder.padding_idx)
    torch.testing.assert_close(got[real], want[real], **ROUNDING)
    # fairseq's own decoder hands it on in float32
    attention, wanted = extra["attn"][0][real], more["attn"][0][real]
    torch.testing.assert_close(attention, wanted, rtol=1e-6, atol=1e-7)
    for log_probs in (True, False):
        torch.testing.assert_close(
            ours.get_normalized_probs((got, extra), log_probs)[real],
            stock.get_normalized_probs((want, more), log_probs)[real].float(),
        )
    assert ours.max_positions() == stock.max_positions()


@pytest.mark.parametrize("decoder, settings", cases())
@torch.no_grad()
def test_step_by_step_after_reordering(decoder: str, settings: dict[str, Any]) -> None:
    stock, ours = pair(decoder, **settings)
    source = batch()["src_tokens"][:2].repeat_interleave(2, dim=0)  # two rows of a beam each
    tokens = random_tokens([7, 7, 7, 7])
    encoded = [model.encoder(source, source.ne(1).sum(1)) for model in (stock, ours)]
    states: list[dict] = [{}, {}]
    order = torch.tensor([1, 1, 3, 2])
    for step in range(1, 8):
        prefix = tokens[:, :step]
        want, got = (
            model.decoder(prefix, encoder_out=source_of, incremental_state=state)[0][:, -1]
            for model, source_of, state in zip((stock, ours), encoded, states, strict=True)
        )
        torch.testing.assert_close(got, want, **ROUNDING)
        whole, _ = ours.decoder(prefix, encoder_out=encoded[1])
        torch.testing.assert_close(got, whole[:, -1], **ROUNDING)
        if step in (2, 5):
            tokens = tokens[order]
            for number, model in enumerate((stock, ours)):
                model.decoder.reorder_incremental_state_scripting(states[number], order)
                encoded[number] = model.encoder.reorder_encoder_out(encoded[number], order)


@torch.no_grad()
def test_padding_before_and_within_a_target() -> None:
    _, ours = pair("transformer")
    source, lengths = batch()["src_tokens"], [6, 3, 5, 2]
    encoded = ours.encoder(source)
    right, left = (random_tokens(lengths, side) for side in ("right", "left"))
    for row, (one, other) in enumerate(zip(right, left, strict=True)):
        other[-lengths[row] :] = one[: lengths[row]]
    want, got = (ours.decoder(tokens, encoder_out=encoded)[0] for tokens in (right, left))
    state: dict[str, Any] = {}
    for step in range(1, 7):
        stepped, _ = ours.decoder(left[:, :step], encoder_out=encoded, incremental_state=state)
        for row, length in enumerate(lengths):
            place = step - 1 - (6 - length)
            if place >= 0:
                torch.testing.assert_close(got[row, step - 1], want[row, place], **ROUNDING)
                torch.testing.assert_close(stepped[row, 0], want[row, place], **ROUNDING)


def test_a_model_that_cannot_be_rebuilt_says_why() -> None:
    with pytest.raises(UserError, match="the model cannot be exported: it has an adaptive softmax"):
        pair("transformer", adaptive_softmax_cutoff="4,8")
    with pytest.raises(UserError, match="its encoder is no plain Transformer's"):
        pair("transformer", quant_noise_pq=0.1, quant_noise_pq_block_size=2)
