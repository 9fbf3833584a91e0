"""What is heard of a forced pass: the attention of the papers' plain loops, the search's scores."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor, nn

from fairseq_memtx.explain.listening import ForcedPass, forced, listening
from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.models.feedback_oracle import NaiveFeedback
from tests.fairseq_memtx.modules.segment_oracle import NaiveAttention
from tests.fairseq_memtx.segments import CASES as SEGMENT_CASES
from tests.fairseq_memtx.segments import EXACT, build, sample_of
from tests.fairseq_memtx.tiny import (
    build_model,
    random_source,
    random_tokens,
    tiny_dictionary,
)

FEEDBACK: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm, per-layer, span": {
        "decoder_normalize_before": True,
        "memtx_memory_kv": "per-layer",
        "memtx_memory_span": 3,
    },
    "relative positions": {"memtx_relative_positions": 2},
    "two routed channels": {"memtx_memory_mixture": "routed", "memtx_memory_channels": 2},
}
TRANSFORMER = {"model": "transformer", "arch": "transformer"}
MODELS = ("feedback", "transformer", *SEGMENT_CASES)
LENGTH = 14
#: fairseq's own attention and its output are normalised in float32, whatever the model is in.
FLOAT32 = {"rtol": 1e-6, "atol": 1e-6}


def model_of(name: str) -> Any:
    if name in SEGMENT_CASES:
        return build(name)
    return build_model() if name == "feedback" else build_model(**TRANSFORMER)


def pair() -> tuple[Tensor, Tensor]:
    """A source and a translation, the end symbol last."""
    source, target = random_tokens([5])[0].roll(-1), random_tokens([LENGTH])[0].roll(-1)
    return source, target


def written(model: Any) -> tuple[ForcedPass, Tensor, Tensor]:
    """A forced pass, the decoder's input `(1, T)` and the encoder's output `(S, 1, C)`."""
    source, target = pair()
    inputs = target.roll(1)[None]
    encoder_out = model.encoder(source[None], src_lengths=torch.tensor([5]))["encoder_out"][0]
    return forced(model, source, target), inputs, encoder_out


def assert_probabilities(rows: list[Tensor], tolerance: dict[str, float] = EXACT) -> None:
    for row in rows:
        if row.size(-1):
            torch.testing.assert_close(row.sum(dim=-1), torch.ones_like(row[..., 0]), **tolerance)


@pytest.mark.parametrize("case", FEEDBACK)
@torch.no_grad()
def test_feedback_reads_what_the_equations_say(case: str) -> None:
    model = build_model(**FEEDBACK[case])
    made, inputs, encoder_out = written(model)
    decoder, options = model.decoder, model.decoder.options
    naive = NaiveFeedback(
        dict(decoder.named_parameters()), 2, 2,
        pre_norm=decoder.cfg.decoder.normalize_before,
        shared_kv=options.memory_kv == "shared", span=options.memory_span,
        routed=options.memory_mixture == "routed", channels=options.memory_channels,
    )  # fmt: skip
    states, cross = naive.run(decoder.embed(inputs), encoder_out)
    assert len(made.mixtures) == LENGTH
    for t, mixtures in enumerate(made.mixtures):
        wanted = [naive.mixture(k, list(states[:, t, 0])) for k in range(naive.channels)]
        # The shares of a log are kept in float32 where they are routed.
        torch.testing.assert_close(mixtures.double(), torch.stack(wanted), **FLOAT32)
    for number, layer in enumerate(made.layers):
        assert len(layer.past) == len(layer.source) == LENGTH
        assert_probabilities([*layer.past, *layer.source])
        for t in range(LENGTH):
            torch.testing.assert_close(layer.source[t][0], cross[0][t][number], **EXACT)
            torch.testing.assert_close(layer.past[t][0], naive.memory_probs[0][t][number], **EXACT)
    assert made.layers[0].past[0].shape == (1, 2, 0)
    assert not torch.allclose(made.layers[0].past[3], made.layers[1].past[3])


@pytest.mark.parametrize("case", SEGMENT_CASES)
@torch.no_grad()
def test_segments_and_memories_are_read_as_algorithm_1_says(case: str) -> None:
    model = build(case)
    made, inputs, _ = written(model)
    decoder = model.decoder
    first = decoder.all_layers()[0]
    x = decoder.embed(inputs)[:, 0]
    naive = NaiveAttention(first.self_attn, decoder.lengths(first), first.norm_before_attention)
    naive.run(x)
    reads = made.layers[0]
    assert [tuple(view) for view in reads.in_view] == naive.in_view
    for got, want in zip(reads.past, naive.probs, strict=True):
        torch.testing.assert_close(got[0], want, **EXACT)
    for layer in made.layers:
        assert_probabilities([*layer.past, *layer.source])


@torch.no_grad()
def test_fairseqs_transformer_reads_what_the_formula_says() -> None:
    model = build_model(**TRANSFORMER)
    heard: dict[int, Tensor] = {}
    for number, layer in enumerate(model.decoder.layers):
        layer.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs, n=number: heard.update({n: kwargs["query"]}),
            with_kwargs=True,
        )
    source, target = pair()
    whole = model(source[None], torch.tensor([5]), target.roll(1)[None])
    assert whole[0].size(1) == LENGTH
    inputs = dict(heard)
    made = forced(model, source, target)
    for number, layer in enumerate(model.decoder.layers):
        attention, x = layer.self_attn, inputs[number][:, 0]
        shape = (LENGTH, attention.num_heads, -1)
        query, key = attention.q_proj(x).view(shape), attention.k_proj(x).view(shape)
        for t in range(LENGTH):
            scores = torch.einsum("hd,khd->hk", query[t], key[: t + 1]) / query.size(-1) ** 0.5
            got = made.layers[number].past[t][0].double()
            torch.testing.assert_close(got, scores.softmax(dim=-1), **FLOAT32)
        _, extra = model.decoder(
            target.roll(1)[None],
            model.encoder(source[None], src_lengths=torch.tensor([5])),
            alignment_layer=number,
        )
        cross = torch.stack([row[0].mean(dim=0) for row in made.layers[number].source]).double()
        torch.testing.assert_close(cross, extra["attn"][0][0], **FLOAT32)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_scores_are_those_of_the_whole_pass_and_of_the_search(name: str) -> None:
    model, sample = model_of(name), sample_of([5], None)
    dictionary = tiny_dictionary()
    search = SequenceGenerator([model], dictionary, beam_size=2, max_len_a=0, max_len_b=13)
    (hypotheses,) = search.generate([model], sample)
    source = sample["net_input"]["src_tokens"][0]
    for one in hypotheses:
        tokens = one["tokens"]
        made = forced(model, source, tokens)
        scores = torch.tensor(made.token_scores)
        # The generator takes differences of sums in float32.
        torch.testing.assert_close(scores, one["positional_scores"], rtol=1e-5, atol=1e-5)
        model.decoder.set_beam_size(1)  # fairseq's Transformer would take two rows to be a beam
        out = model(source[None], torch.tensor([5]), tokens.roll(1)[None])
        model.decoder.set_beam_size(2)
        whole = model.get_normalized_probs(out, log_probs=True, sample=None)[0]
        torch.testing.assert_close(scores, whole.gather(1, tokens[:, None])[:, 0], **FLOAT32)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_what_is_masked_is_not_read_and_listening_changes_nothing(name: str) -> None:
    decoder, source = model_of(name).decoder, random_source([4, 5, 1])
    tokens = random_tokens([9, 9, 9])
    state: dict[str, Any] = {}
    plain = [decoder(tokens[:, : t + 1], source, state)[0] for t in range(9)]
    with listening(decoder) as layers:
        state = {}
        heard = [decoder(tokens[:, : t + 1], source, state)[0] for t in range(9)]
    decoder(tokens[:, :1], source, {})
    torch.testing.assert_close(heard, plain, rtol=0, atol=0)
    padding = source["encoder_padding_mask"][0]
    for layer in layers:
        assert len(layer.source) == len(layer.past) == 9, "nothing is heard after the block"
        exact = FLOAT32 if name == "transformer" else EXACT
        assert_probabilities([*layer.source, *layer.past], exact)
        for row in layer.source:
            assert row.shape == (3, 2, 5)
            assert bool((row.transpose(1, 2)[padding] == 0).all())
            assert bool((row.transpose(1, 2)[~padding] > 0).all())


@pytest.mark.parametrize("offers", ["an attention of another kind", "no attention", "no layers"])
def test_what_offers_nothing_to_hear_is_refused(offers: str) -> None:
    layer, name = nn.Module(), "SimpleNamespace"
    if offers == "an attention of another kind":
        layer.self_attn, name = nn.Linear(2, 2), "Linear"
    decoder = SimpleNamespace(layers=nn.ModuleList([layer]))
    if offers == "no layers":
        decoder = SimpleNamespace()
    told = pytest.raises(UserError, match=f"of a {name} it cannot be shown what it attends to")
    with told, listening(decoder):
        pass
