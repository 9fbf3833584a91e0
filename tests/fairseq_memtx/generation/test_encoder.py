"""The prepared encoder against fairseq's."""

import pytest
import torch

from fairseq_memtx.decoding.encoder import FusedEncoder
from fairseq_memtx.generation.steppers import PreparedModel, is_plain_encoder
from tests.fairseq_memtx.searches import sample
from tests.fairseq_memtx.tiny import build_model

SETTINGS = {
    "post-norm": {},
    "pre-norm, 2 layers": {"encoder_normalize_before": True, "encoder_layers": 2},
    "learned positions": {"encoder_learned_pos": True},
    "no positions": {"no_token_positional_embeddings": True},
    "embedding norm": {"layernorm_embedding": True, "no_scale_embedding": True},
    "gelu": {"activation_fn": "gelu"},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", [[4, 2, 5], [3, 3]])
@pytest.mark.parametrize("name", SETTINGS)
def test_it_gives_what_fairseqs_encoder_gives(name, lengths, dtype):
    model, batch = build_model(**SETTINGS[name]).to(dtype), sample(lengths)["net_input"]
    assert is_plain_encoder(model.encoder)
    with torch.no_grad():
        want = model.encoder(batch["src_tokens"], batch["src_lengths"])
    got = PreparedModel(model).encode(batch)
    real = batch["src_tokens"].ne(1).t()
    torch.testing.assert_close(got["encoder_out"][0][real], want["encoder_out"][0][real])
    padded = len(set(lengths)) > 1
    assert [mask.tolist() for mask in got["encoder_padding_mask"]] == (
        [want["encoder_padding_mask"][0].tolist()] if padded else []
    )


def test_padding_is_not_looked_at():
    model = build_model(encoder_layers=2)
    tokens = sample([4, 2, 5])["net_input"]["src_tokens"]
    encoder = FusedEncoder(model.encoder)
    together, _ = encoder(tokens)
    alone, mask = encoder(tokens[1:2, -2:])
    assert mask is None
    # positions are counted from the first word on
    torch.testing.assert_close(together[-2:, 1], alone[:, 0])


def test_another_encoder_is_left_to_fairseq():
    model = build_model()
    model.encoder.layers[0].self_attn.add_zero_attn = True
    assert not is_plain_encoder(model.encoder)
    found = PreparedModel(model).encode(sample()["net_input"])
    assert len(found["encoder_padding_mask"]) == 1
