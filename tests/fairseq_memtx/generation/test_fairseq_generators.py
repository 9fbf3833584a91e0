"""fairseq's generators over Feedback models: what they find, with and without incremental state."""

import copy
import math
from itertools import chain, pairwise
from typing import Any

import pytest
import torch
from fairseq import search
from fairseq.models import FairseqDecoder
from fairseq.sequence_generator import SequenceGeneratorWithAlignment
from fairseq.sequence_scorer import SequenceScorer
from fairseq.token_generation_constraints import pack_constraints
from torch import Tensor, nn

from tests.fairseq_memtx.searches import (
    DICTIONARY,
    FLOAT32,
    SOURCE_LENGTHS,
    generate,
    same_hypotheses,
    sample,
)
from tests.fairseq_memtx.tiny import build_lm, build_model, random_tokens

MODELS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "span and distances, pre-norm": {
        "memtx_memory_span": 2,
        "memtx_relative_positions": 3,
        "memtx_memory_kv": "per-layer",
        "decoder_normalize_before": True,
    },
}


class Recomputing(nn.Module):
    """The same model without incremental state: the generator hands it the whole prefix."""

    class Decoder(FairseqDecoder):
        def __init__(self, decoder: Any):
            super().__init__(decoder.dictionary)
            self.whole = decoder

        def forward(self, tokens, encoder_out=None):
            return self.whole(tokens, encoder_out)

    def __init__(self, model: Any):
        super().__init__()
        self.encoder, self.decoder = model.encoder, self.Decoder(model.decoder)
        self.get_normalized_probs = model.get_normalized_probs
        self.max_decoder_positions = model.max_decoder_positions


# --- Incremental = recomputed -------------------------------------------------------------------

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"beam_size": 1},
    "beam": {},
    "wide beam": {"beam_size": 8},
    "length penalty": {"len_penalty": 0.3},
    "unnormalised": {"normalize_scores": False},
    "minimum length": {"min_len": 4},
    "unknown penalty and temperature": {"unk_penalty": 1.5, "temperature": 0.6},
    "source length": {"match_source_len": True, "max_len_b": 5},
    "no repeated n-gram": {"no_repeat_ngram_size": 2},
    "prefix": {"call": {"prefix_tokens": torch.tensor([[6, 7], [8, 1], [5, 5]])}},
    "prefix that ends": {"call": {"prefix_tokens": torch.tensor([[6, 2], [8, 9], [5, 5]])}},
    "sampling": {"search": lambda: search.Sampling(DICTIONARY)},
    "top-k sampling": {"search": lambda: search.Sampling(DICTIONARY, sampling_topk=3)},
    "nucleus sampling": {"search": lambda: search.Sampling(DICTIONARY, sampling_topp=0.7)},
    "diverse groups": {
        "beam_size": 4,
        "search": lambda: search.DiverseBeamSearch(DICTIONARY, 2, 0.5),
    },
    "diversity rate": {"search": lambda: search.DiverseSiblingsSearch(DICTIONARY, 0.5)},
    "length constraint": {
        "search": lambda: search.LengthConstrainedBeamSearch(DICTIONARY, 0, 2, 1, 1)
    },
    "hard alignment": {"kind": SequenceGeneratorWithAlignment, "print_alignment": "hard"},
    "soft alignment": {"kind": SequenceGeneratorWithAlignment, "print_alignment": "soft"},
}


def hypotheses(models: list[Any], batch: dict[str, Any], way: dict[str, Any]) -> Any:
    options = {name: value for name, value in way.items() if name != "search"}
    if "search" in way:
        options["search_strategy"] = way["search"]()
    return generate(models, batch, **options)


@pytest.mark.parametrize("way", WAYS)
def test_a_search_with_state_finds_what_recomputing_finds(way):
    model, batch = build_model(), sample()
    same_hypotheses(
        hypotheses([model], batch, WAYS[way]), hypotheses([Recomputing(model)], batch, WAYS[way])
    )


@pytest.mark.parametrize("way", ["beam", "sampling", "hard alignment", "diversity rate"])
def test_a_search_with_a_span_and_distances_finds_what_recomputing_finds(way):
    model, batch = build_model(**MODELS["span and distances, pre-norm"]), sample()
    same_hypotheses(
        hypotheses([model], batch, WAYS[way]), hypotheses([Recomputing(model)], batch, WAYS[way])
    )


@pytest.mark.parametrize("represent", ["ordered", "unordered"])
def test_a_constrained_search_holds_its_words_and_finds_what_recomputing_finds(represent):
    model, batch = build_model(), sample()
    words = [[torch.tensor([6])], [torch.tensor([8, 9])], []]

    def found(model: Any) -> Any:
        strategy = search.LexicallyConstrainedBeamSearch(DICTIONARY, represent)
        call = {"constraints": pack_constraints(words)}
        return generate([model], batch, beam_size=5, search_strategy=strategy, call=call)

    got = found(model)
    same_hypotheses(got, found(Recomputing(model)))
    assert 6 in got[0][0]["tokens"].tolist()
    assert "8, 9" in str(got[1][0]["tokens"].tolist())


@pytest.mark.parametrize("other", ["memtx_feedback", "transformer"])
def test_an_ensemble_finds_what_recomputing_finds(other):
    """Both models keep their state; a Feedback model may stand beside a Transformer."""
    models, batch = [build_model(memtx_memory_span=2), build_model(other, seed=5)], sample()
    same_hypotheses(
        generate(models, batch), generate([Recomputing(model) for model in models], batch)
    )


SEGMENTS = {"memtx_segment_len": 4, "memtx_mem_len": 4}
SEGMENT_MODELS: dict[str, dict[str, Any]] = {
    "memtx_transformer_xl": SEGMENTS,
    "memtx_compressive": {**SEGMENTS, "memtx_cmem_len": 3, "memtx_compression_rate": 2},
}
#: Searches that cross several segments; the prefixes end beyond the first, one of them earlier.
ACROSS: dict[str, dict[str, Any]] = {
    "beam": {"max_len_b": 14},
    "prefix": {
        "max_len_b": 14,
        "call": {"prefix_tokens": torch.tensor([[6, 7, 5, 9, 8, 4], [8, 5, 6, 1, 1, 1], [5] * 6])},
    },
    "sampling": {"max_len_b": 11, "search": lambda: search.Sampling(DICTIONARY)},
}


def build_segments(name: str, **settings: Any) -> Any:
    return build_model(name, arch=name, **SEGMENT_MODELS[name], **settings)


@pytest.mark.parametrize("way", ACROSS)
@pytest.mark.parametrize("name", SEGMENT_MODELS)
def test_a_search_across_segments_finds_what_recomputing_finds(name, way):
    model, batch = build_segments(name), sample()
    found = hypotheses([model], batch, ACROSS[way])
    same_hypotheses(found, hypotheses([Recomputing(model)], batch, ACROSS[way]))
    assert max(len(hypo["tokens"]) for hypos in found for hypo in hypos) > 8
    if "call" in ACROSS[way]:
        assert found[0][0]["tokens"][:6].tolist() == [6, 7, 5, 9, 8, 4]


@pytest.mark.parametrize("other", ["transformer", "memtx_feedback"])
@pytest.mark.parametrize("name", SEGMENT_MODELS)
def test_a_segment_decoder_may_stand_beside_another(name, other):
    models, batch = [build_segments(name), build_model(other, seed=5)], sample()
    same_hypotheses(
        hypotheses(models, batch, ACROSS["beam"]),
        hypotheses([Recomputing(model) for model in models], batch, ACROSS["beam"]),
    )


def test_the_comparison_notices_a_reordering_that_is_forgotten():
    model, batch = build_model(), sample()
    model.decoder.reorder_incremental_state = lambda state, order: None
    with pytest.raises(AssertionError):
        same_hypotheses(generate([model], batch), generate([Recomputing(model)], batch))


def test_a_batch_finds_what_its_sentences_find_alone():
    model, batch = build_model(), sample()
    together = generate([model], batch)
    for number, length in enumerate(SOURCE_LENGTHS):
        tokens = batch["net_input"]["src_tokens"][number : number + 1, -length:]
        net_input = {"src_tokens": tokens, "src_lengths": torch.tensor([length])}
        (alone,) = generate([model], {"id": torch.tensor([number]), "net_input": net_input})
        for a, b in zip(together[number], alone, strict=True):
            assert a["tokens"].tolist() == b["tokens"].tolist()
            torch.testing.assert_close(a["score"], b["score"], **FLOAT32)


# --- Against a search written out ---------------------------------------------------------------


def brute_force_beam(
    model: Any, source: Tensor, beam_size: int, max_len: int
) -> list[tuple[list[int], float]]:
    """fairseq's beam search for one sentence, a fresh pass over every prefix at every step.

    Returns the finished hypotheses, best first, with their log-probability per token.
    """
    eos, encoder_out = DICTIONARY.eos(), model.encoder(source[None], torch.tensor([len(source)]))
    live: list[tuple[list[int], float]] = [([], 0.0)]
    finished: list[tuple[list[int], float]] = []
    for step in range(max_len + 1):
        candidates = []
        for words, score in live:
            out = model.decoder(torch.tensor([[eos, *words]]), encoder_out)
            for word, logp in enumerate(out[0][0, -1].log_softmax(-1).tolist()):
                ends = word == eos
                if word != DICTIONARY.pad() and (
                    ends if step == max_len else not (ends and step == 0)
                ):
                    candidates.append(([*words, word], score + logp))
        candidates = sorted(candidates, key=lambda item: -item[1])[: 2 * beam_size]
        finished += [
            (words, score / (step + 1))
            for words, score in candidates[:beam_size]
            if words[-1] == eos
        ]
        live = [item for item in candidates if item[0][-1] != eos][:beam_size]
        if len(finished) >= beam_size:
            break
    return sorted(finished[:beam_size], key=lambda item: -item[1])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("beam_size", [1, 4])
def test_beam_search_finds_what_a_search_written_out_finds(name, beam_size):
    model, batch = build_model(**MODELS[name]), sample([4, 4, 4, 4])
    found = generate([model], batch, beam_size=beam_size)
    for source, hypos in zip(batch["net_input"]["src_tokens"], found, strict=True):
        with torch.no_grad():
            want = brute_force_beam(model, source, beam_size, max_len=6)
        assert [hypo["tokens"].tolist() for hypo in hypos] == [words for words, _ in want]
        assert [float(hypo["score"]) for hypo in hypos] == pytest.approx(
            [s for _, s in want], rel=1e-5
        )


# --- Scores -------------------------------------------------------------------------------------


def with_target(batch: dict[str, Any], target: Tensor) -> dict[str, Any]:
    """The batch as fairseq makes it for scoring a reference, padded on the right."""
    tokens = target.clone()
    previous = torch.full_like(tokens, DICTIONARY.pad())
    for row, shifted in zip(tokens, previous, strict=True):
        length = int(row.ne(DICTIONARY.pad()).sum())
        row[length - 1] = DICTIONARY.eos()
        shifted[:length] = row[:length].roll(1)
    return {
        **batch,
        "target": tokens,
        "net_input": {**batch["net_input"], "prev_output_tokens": previous},
    }


def test_scores_of_a_reference_are_the_teacher_forced_log_probabilities():
    model, batch = build_model(), with_target(sample(), random_tokens([4, 2, 5]))
    scored = SequenceScorer(DICTIONARY, compute_alignment=True).generate([model], batch)
    with torch.no_grad():
        logp = model(**batch["net_input"])[0].log_softmax(dim=-1)
    for number, (hypo,) in enumerate(scored):
        want = [float(logp[number, t, word]) for t, word in enumerate(hypo["tokens"].tolist())]
        assert hypo["positional_scores"].tolist() == pytest.approx(want, rel=1e-5)
        assert float(hypo["score"]) == pytest.approx(sum(want) / len(want), rel=1e-5)


def test_scores_of_what_a_search_found_are_the_scores_of_the_search():
    model, batch = build_model(), sample()
    best = [hypos[0] for hypos in generate([model], batch)]
    width = max(len(hypo["tokens"]) for hypo in best)
    target = torch.full((len(best), width), DICTIONARY.pad())
    for row, hypo in zip(target, best, strict=True):
        row[: len(hypo["tokens"])] = hypo["tokens"]
    scored = SequenceScorer(DICTIONARY).generate([model], with_target(batch, target))
    for (score,), hypo in zip(scored, best, strict=True):
        assert score["tokens"].tolist() == hypo["tokens"].tolist()
        torch.testing.assert_close(score["positional_scores"], hypo["positional_scores"], **FLOAT32)


def test_scores_of_an_ensemble_are_those_of_the_mean_probabilities():
    models = [build_model(), build_model("transformer", seed=5)]
    batch = with_target(sample(), random_tokens([4, 2, 5]))
    scored = SequenceScorer(DICTIONARY).generate(models, batch)
    with torch.no_grad():
        probs = sum(model(**batch["net_input"])[0].softmax(dim=-1) for model in models) / 2
    for number, (hypo,) in enumerate(scored):
        want = [math.log(probs[number, t, word]) for t, word in enumerate(hypo["tokens"].tolist())]
        assert hypo["positional_scores"].tolist() == pytest.approx(want, rel=1e-5)


# --- Contract -----------------------------------------------------------------------------------


def test_a_diverged_model_stops_the_search():
    model = build_model()
    with torch.no_grad():
        model.decoder.layers[0].fc2.bias[0] = float("nan")
    with pytest.raises(FloatingPointError):
        generate([model], sample())


def test_the_beams_of_a_search_share_their_source():
    model, seen = build_model(), []
    new_state = model.decoder.new_state
    model.decoder.new_state = lambda x, source, beam: (
        seen.append((len(x), beam)) or new_state(x, source, beam)
    )
    generate([model], sample(), beam_size=4)
    assert seen == [(12, 4)]


def test_a_greedy_search_after_a_beam_search_is_right():
    """The generator tells the decoder no beam size of 1, so that the last one stays."""
    model, batch = build_model(), sample([3, 3, 3])
    batch["net_input"]["src_tokens"][1] = batch["net_input"]["src_tokens"][0]
    generate([model], batch, beam_size=3)
    same_hypotheses(
        generate([model], batch, beam_size=1), generate([Recomputing(model)], batch, beam_size=1)
    )


def test_hypotheses_have_the_attention_of_the_whole_target():
    model, batch = build_model(decoder_layers=3), sample()
    model.make_generation_fast_(need_attn=True)
    best = generate([model], batch)[0][0]
    previous = best["tokens"].roll(1)[None]
    src = batch["net_input"]["src_tokens"][:1]
    with torch.no_grad():
        _, extra = model(src, torch.tensor([src.size(1)]), previous)
    torch.testing.assert_close(
        best["attention"], extra["attn"][0][0].t().float(), rtol=1e-5, atol=1e-6
    )


def test_no_attention_is_computed_where_none_is_wanted():
    model = build_model()
    model.make_generation_fast_(need_attn=False)
    assert generate([model], sample())[0][0]["attention"].numel() == 0


@pytest.mark.parametrize("dtype, close", [(torch.float16, 2e-2), (torch.bfloat16, 1.5e-1)])
def test_half_precision_scores_as_double_precision_does(dtype, close):
    model, batch = build_model(), with_target(sample(), random_tokens([4, 2, 5]))
    want = SequenceScorer(DICTIONARY).generate([model], batch)
    half = model.to(dtype)
    got = SequenceScorer(DICTIONARY).generate([half], batch)
    for (a,), (b,) in zip(got, want, strict=True):
        torch.testing.assert_close(
            a["positional_scores"].float(), b["positional_scores"], rtol=0, atol=close
        )
    best = generate([half], sample())[0][0]
    assert best["tokens"][-1] == DICTIONARY.eos() and best["score"].isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_trains(dtype):
    model, batch = (
        build_model(dropout=0.1).to(dtype).train(),
        with_target(sample(), random_tokens([4, 2, 5])),
    )
    logits, _ = model(**batch["net_input"])
    logits.float().log_softmax(-1).mean().backward()
    assert all(p.grad.isfinite().all() for p in model.decoder.parameters())


def test_a_model_made_for_inference_finds_the_same_with_its_packed_output():
    model, batch = build_model().float(), sample()
    want = generate([model], batch)
    assert "attention" in want[0][0]
    model.make_generation_fast_(need_attn=True)
    same_hypotheses(generate([model], batch), want)
    assert model.decoder.frozen_output._made.packed


def test_an_output_that_changes_is_packed_anew_and_not_copied_with_the_model():
    model, batch = build_model().float(), sample()
    model.make_generation_fast_(need_attn=True)
    generate([model], batch)
    with torch.no_grad():
        model.decoder.output_projection.weight.mul_(-1.0)
    copied = copy.deepcopy(model)
    assert copied.decoder.frozen_output._made is None
    copied.decoder.made_fast = False
    same_hypotheses(generate([model], batch), generate([copied], batch))


def test_half_precision_after_made_for_inference_is_searched():
    model = build_model().float()
    model.make_generation_fast_()
    generate([model], sample())
    best = generate([model.half()], sample())[0][0]
    assert best["tokens"][-1] == DICTIONARY.eos()


@pytest.mark.parametrize("lm", ["transformer_lm", "memtx_feedback_lm"])
def test_a_language_model_in_the_search_counts_as_recomputing_has_it(lm):
    """`--lm-path`: fairseq calls it without a state, on the whole prefix."""
    model, batch = build_model(), sample()
    other = build_lm(lm.removesuffix("_lm")).eval()
    found = generate([model], batch, lm_model=other, lm_weight=0.7)
    same_hypotheses(found, generate([Recomputing(model)], batch, lm_model=other, lm_weight=0.7))
    assert found[0][0]["score"] != generate([model], batch)[0][0]["score"]


def test_a_search_repeats_no_pair_that_it_must_not_repeat():
    model, batch = build_model(seed=2), sample()
    found = generate([model], batch, no_repeat_ngram_size=2, max_len_b=20, min_len=15)
    for hypo in chain.from_iterable(found):
        words = [DICTIONARY.eos(), *hypo["tokens"].tolist()]
        pairs = list(pairwise(words))
        assert len(set(pairs)) == len(pairs)
