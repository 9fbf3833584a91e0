"""Dropout of the Feedback decoder: masks drawn ahead, the same for the same seed."""

import pytest
import torch

from fairseq_memtx.engine import ENGINES, Recurrence
from fairseq_memtx.modules.dropout import DropoutRates, draw_layer_masks, draw_mask, drop
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens

RATES = {"dropout": 0.3, "attention_dropout": 0.2, "activation_dropout": 0.4}


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_mask_is_zero_or_the_inverse_of_what_is_kept_and_one_on_average(rate):
    mask = draw_mask(rate, (200, 500), torch.zeros((), dtype=torch.float64))
    zeros = mask == 0
    torch.testing.assert_close(mask[~zeros], torch.full_like(mask[~zeros], 1 / (1 - rate)))
    deviation = (rate * (1 - rate) / mask.numel()) ** 0.5  # of the share of zeros
    assert abs(zeros.double().mean().item() - rate) < 5 * deviation
    assert abs(mask.mean().item() - 1.0) < 5 * deviation / (1 - rate)


def test_no_rate_draws_no_mask_and_no_random_number():
    before = torch.get_rng_state()
    assert draw_mask(0.0, (3,), torch.zeros(())) is None
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(3)
    assert drop(x, None) is x


def test_each_rate_governs_its_own_masks():
    x = torch.zeros(4, 2, 8)
    for rates, names in (
        (DropoutRates(hidden=0.5), {"memory_out", "cross_out", "ffn_out"}),
        (DropoutRates(attention=0.5), {"memory_probs", "cross_probs"}),
        (DropoutRates(activation=0.5), {"activation"}),
    ):
        masks = draw_layer_masks(rates, x, num_heads=2, ffn_dim=6, source_len=3, memory_len=4)
        assert {name for name, mask in masks._asdict().items() if mask is not None} == names


def test_masks_have_the_documented_shapes_and_none_for_a_missing_source():
    x, rates = torch.zeros(5, 2, 8, dtype=torch.float16), DropoutRates(0.5, 0.5, 0.5)
    masks = draw_layer_masks(rates, x, num_heads=4, ffn_dim=6, source_len=3, memory_len=5)
    shapes = {name: tuple(mask.shape) for name, mask in masks._asdict().items()}
    assert shapes == {
        "memory_probs": (5, 2, 4, 5),
        "memory_out": (5, 2, 8),
        "cross_probs": (5, 2, 4, 3),
        "cross_out": (5, 2, 8),
        "activation": (5, 2, 6),
        "ffn_out": (5, 2, 8),
    }
    assert {mask.dtype for mask in masks} == {torch.float16}
    alone = draw_layer_masks(rates, x, num_heads=4, ffn_dim=6, source_len=0, memory_len=5)
    assert alone.cross_probs is None and alone.cross_out is None


def test_the_same_masks_give_the_same_states_and_others_give_others(tiny_decoder):
    decoder = tiny_decoder(**RATES).train()
    x = torch.randn(4, 2, 8, dtype=torch.float64)
    masks, others = (list(decoder.draw_masks(x, source_len=0, memory_len=4)) for _ in range(2))

    def states(masks):
        recurrence = Recurrence(list(decoder.layers), decoder.memory, x, masks=masks)
        return torch.stack(ENGINES["reference"](recurrence).states)

    assert torch.equal(states(masks), states(masks))
    assert not torch.allclose(states(masks)[1:], states(others)[1:])


def logits_with_seed(decoder, seed, tokens, source):
    torch.manual_seed(seed)
    return decoder(tokens, source)[0]


@pytest.mark.parametrize("rate", RATES)
def test_training_is_decided_by_the_seed(tiny_decoder, rate):
    decoder = tiny_decoder(**{rate: 0.5}).train()
    tokens, source = random_tokens([5, 3]), random_source([3, 4])
    first = logits_with_seed(decoder, 1, tokens, source)
    assert torch.equal(logits_with_seed(decoder, 1, tokens, source), first)
    assert not torch.allclose(logits_with_seed(decoder, 2, tokens, source), first)


def test_evaluation_drops_nothing(tiny_decoder):
    tokens, source = random_tokens([5, 3]), random_source([3, 4])
    want = tiny_decoder(dropout=0.0)(tokens, source)[0]
    assert torch.equal(tiny_decoder(**RATES)(tokens, source)[0], want)


def test_training_without_rates_is_evaluation(tiny_decoder):
    decoder, tokens, source = tiny_decoder(), random_tokens([5, 3]), random_source([3, 4])
    want = decoder(tokens, source)[0]
    assert torch.equal(decoder.train()(tokens, source)[0], want)


def test_relu_dropout_is_the_older_name_of_activation_dropout(tiny_decoder):
    decoder = tiny_decoder(relu_dropout=0.25, activation_dropout=0.0)
    assert [layer.sizes.dropout.activation for layer in decoder.layers] == [0.25, 0.25]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("retain", [True, False])
def test_retained_dropout_also_drops_in_a_search(rate, retain):
    model = build_model(**{rate: 0.5})
    model.make_generation_fast_(retain_dropout=retain)
    tokens, source = random_tokens([5, 5]), random_source([3, 4])

    def steps(seed):
        torch.manual_seed(seed)
        state: dict = {}
        return [
            model.decoder(tokens[:, : t + 1], source, incremental_state=state)[0]
            for t in range(tokens.size(1))
        ]

    first, again, other = torch.cat(steps(1)), torch.cat(steps(1)), torch.cat(steps(2))
    assert torch.equal(first, again)
    assert torch.allclose(first, other) == (not retain)


def test_retained_dropout_can_be_kept_to_named_modules():
    model = build_model(**RATES)
    model.make_generation_fast_(retain_dropout=True, retain_dropout_modules=["TransformerEncoder"])
    assert not model.decoder.layer_dropout_active()
    model = build_model(**RATES)
    model.make_generation_fast_(retain_dropout=True, retain_dropout_modules=["FeedbackDecoder"])
    assert model.decoder.layer_dropout_active()
