"""Our generator against fairseq's: the same hypotheses, in the same order, with the same scores."""

import itertools
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.models import lstm
from fairseq.sequence_generator import SequenceGenerator

from fairseq_memtx.decoding import candidates
from fairseq_memtx.decoding.fused import FusedDecoder
from fairseq_memtx.generation import steppers
from fairseq_memtx.generation.generator import (
    FastGenerator,
    FastGeneratorWithAlignment,
    generator_class,
)
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.rounding import round_model
from tests.choosing import some
from tests.fairseq_memtx.generation.comparisons import (
    BATCHES,
    MODELS,
    OF_FEEDBACK,
    SETTINGS,
    WAYS,
    both,
    check,
)
from tests.fairseq_memtx.searches import DICTIONARY, generate, same_hypotheses, sample
from tests.fairseq_memtx.tiny import build_model, scatter_weights


def ends_early(found: Any, max_len: int) -> bool:
    return any(len(hypo["tokens"]) <= max_len for hypo in itertools.chain.from_iterable(found))


# --- The same search ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "way"), some(itertools.product(MODELS, WAYS), 5))
def test_it_finds_what_fairseqs_generator_finds(name, way):
    architecture, settings = MODELS[name]
    for number, beam_size in enumerate((1, 2, 5)):
        pre_norm = bool(number % 2)
        model = build_model(
            architecture,
            seed=number + 1,
            decoder_layers=1 + number % 2,
            decoder_normalize_before=pre_norm,
            **settings,
        )
        for lengths in BATCHES[: 2 if number == 2 else 1]:
            check([model], sample(lengths), beam_size=beam_size, **WAYS[way])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("prefix", [None, [[6, 7, 8], [8, 1, 1], [5, 5, 5], [7, 2, 1]]])
def test_with_own_limits_it_finds_what_fairseqs_generator_finds_alone(name, prefix):
    architecture, settings = MODELS[name]
    model, batch = build_model(architecture, **settings), sample([4, 2, 5, 3])
    short: dict[str, Any] = {"max_len_a": 0.7, "max_len_b": 0, "min_len": 0}
    call = [] if prefix is None else [("prefix_tokens", torch.tensor(prefix))]
    got = generate([model], batch, FastGenerator, own_limits=True, call=dict(call), **short)
    wanted = []
    for row, length in enumerate([4, 2, 5, 3]):
        source = batch["net_input"]["src_tokens"][row : row + 1, -length:]
        net_input = {"src_tokens": source, "src_lengths": torch.tensor([length])}
        alone = {key: words[row : row + 1] for key, words in call}
        wanted += generate([model], {"net_input": net_input}, call=alone, **short)
    assert len({len(hypos[0]["tokens"]) for hypos in wanted}) > 1
    for hypo in itertools.chain.from_iterable([*got, *wanted]):
        hypo["attention"] = torch.empty(0)
    same_hypotheses(got, wanted)
    shared = generate([model], batch, FastGenerator, call=dict(call), **short)
    lengths = [[[len(hypo["tokens"]) for hypo in hypos] for hypos in x] for x in (got, shared)]
    assert lengths[0] != lengths[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_it_finds_what_fairseqs_generator_finds_with_many_models(name):
    architecture, settings = MODELS[name]
    for seed, depth, dtype in itertools.product(
        range(10, 18), (1, 2), (torch.float32, torch.float64)
    ):
        pre_norm = bool(seed % 2)
        model = build_model(
            architecture,
            seed=seed,
            decoder_layers=depth,
            decoder_normalize_before=pre_norm,
            **settings,
        ).to(dtype)
        for way, beam_size in itertools.product(WAYS.values(), (1, 2, 5)):
            check([model], sample(BATCHES[seed % 2]), beam_size=beam_size, **way)


def test_the_searches_that_are_compared_end_at_different_steps():
    """Else nothing would be said about sentences that leave the batch."""
    model, ends = build_model(seed=3, decoder_layers=1), []
    move = FusedDecoder.begin_search

    def start(self, *args):
        found = move(self, *args)
        stock = found.move
        found.move = lambda parents, kept: (ends.append(kept), stock(parents, kept))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FusedDecoder, "begin_search", start)
        found, _ = both([model], sample([4, 2, 5, 3]), max_len_b=30, beam_size=2)
    assert ends_early(found, 30)
    assert any(kept is not None and len(kept) < 4 for kept in ends)


@pytest.mark.parametrize("architecture", ["transformer", "memtx_feedback"])
@pytest.mark.parametrize("name", SETTINGS)
def test_every_kind_of_decoder_is_searched_alike(architecture, name):
    # fairseq's search keeps the precision of an adaptive softmax
    model = build_model(architecture, **SETTINGS[name]).float()
    check([model], sample(), temperature=1.2)


def test_models_of_other_kinds_are_searched_alike():
    """The LSTM's encoder gives a tuple, for instance."""
    sizes = {
        f"{side}_{name}": size
        for side in ("encoder", "decoder")
        for name, size in {"embed_dim": 8, "hidden_size": 8, "layers": 1}.items()
    }
    args = Namespace(**sizes, decoder_out_embed_dim=8, dropout=0.0, criterion="")
    lstm.base_architecture(args)
    task = SimpleNamespace(source_dictionary=DICTIONARY, target_dictionary=DICTIONARY)
    model = lstm.LSTMModel.build_model(args, task).eval()
    scatter_weights(model)
    check([model], sample([5, 4, 2]))  # the longest first


def test_quantisation_noise_is_left_to_fairseqs_decoder():
    """It comes with a product over the embedded words that plain decoders have not."""
    noise = {"quant_noise_pq": 0.1, "quant_noise_pq_block_size": 2}
    model = build_model("transformer", **noise)
    assert steppers.why_not_fused(model.decoder) == "it was made with --quant-noise-pq"
    check([model], sample())


@pytest.mark.parametrize("name", OF_FEEDBACK)
def test_every_kind_of_memory_is_searched_alike(name):
    check([build_model(**OF_FEEDBACK[name])], sample(), max_len_b=12)


@pytest.mark.parametrize("architecture", ["transformer", "memtx_feedback"])
def test_long_hypotheses_outlast_the_first_slots(architecture):
    model = build_model(architecture, decoder_layers=2)
    check([model], sample(), beam_size=5, max_len_b=60, min_len=50)


def test_prefixes_that_end_leave_no_trace_of_other_rows():
    """Rows without a score have any words, which must not count as repeated ones."""
    prefix = torch.tensor([[3, 2], [7, 6], [8, 1]])
    for seed in range(1, 5):
        model = build_model("transformer", seed=seed)
        call = {"prefix_tokens": prefix}
        check([model], sample(), beam_size=10, no_repeat_ngram_size=2, call=call)


def test_a_large_vocabulary_is_searched_in_two_rounds(monkeypatch):
    monkeypatch.setattr(candidates, "CHUNK", 3)
    monkeypatch.setattr(candidates, "SEVERAL_CHUNKS", 0)
    for beam_size in (1, 3, 5):
        check([build_model(decoder_layers=1)], sample(), beam_size=beam_size, max_len_b=12)


@pytest.mark.parametrize("names", [("feedback", "transformer"), ("compressive", "feedback")])
def test_ensembles_find_what_fairseqs_generator_finds(names):
    models = [
        build_model(MODELS[name][0], seed=seed, **MODELS[name][1])
        for seed, name in enumerate(names)
    ]
    check(models, sample(), temperature=0.8)


@pytest.mark.parametrize("align", ["hard", "soft"])
@pytest.mark.parametrize("names", [["transformer"], ["feedback"], ["compressive", "feedback"]])
def test_alignments_are_those_of_fairseqs_generator(names, align):
    models = [build_model(MODELS[name][0], **MODELS[name][1]) for name in names]
    check(models, sample([4, 2, 5, 3]), align=align, beam_size=3, max_len_b=12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["transformer", "memtx_feedback"])
def test_half_precision_finds_hypotheses_of_nearly_the_scores(architecture, dtype):
    model = build_model(architecture, decoder_layers=1).to(dtype)
    got, want = both([model], sample(), beam_size=2)
    for a, b in zip(got, want, strict=True):
        assert a[0]["tokens"][-1] == DICTIONARY.eos()
        torch.testing.assert_close(a[0]["score"], b[0]["score"], rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("transformer", {"decoder_layers": 1}),
        ("memtx_feedback", {"decoder_layers": 1}),
        ("memtx_feedback", OF_FEEDBACK["routed channels"]),
    ],
)
def test_weights_in_eight_bits_are_used_as_they_are(architecture, settings):
    """The integer product rounds the inputs of all rows together, so that scores differ a bit."""
    model = round_model(build_model(architecture, **settings).float())
    assert steppers.why_not_fused(model.decoder) is None
    got, want = both([model], sample([3, 3]), beam_size=1)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a[0]["score"], b[0]["score"], rtol=0, atol=0.1)


# --- Negative controls --------------------------------------------------------------------------


def test_the_comparison_notices_a_past_that_does_not_follow_the_beams(monkeypatch):
    from fairseq_memtx.decoding.beam_cache import BeamCache

    def forget(self, parents, kept):
        same = torch.zeros_like(parents) + torch.arange(parents.size(1))
        stock(self, same.clamp(max=self.bias.size(1) - 1), kept)

    stock = BeamCache.move
    monkeypatch.setattr(BeamCache, "move", forget)
    with pytest.raises(AssertionError):
        check([build_model()], sample(), max_len_b=12)


def test_the_comparison_notices_sources_that_stay_when_sentences_leave(monkeypatch):
    from fairseq_memtx.decoding import fused_parts

    monkeypatch.setattr(fused_parts, "move_sentences", lambda x, dim, kept: None)
    with pytest.raises(AssertionError):
        for seed in (1, 2, 3):
            model = build_model(seed=seed, decoder_layers=1)
            check([model], sample([4, 2, 5, 3]), beam_size=2, max_len_b=30)


# --- Contract -----------------------------------------------------------------------------------


def test_weights_that_change_between_searches_are_noticed():
    """A model in training is validated with the same generator again and again."""
    model, batch = build_model(), sample()
    generator = FastGenerator([model], DICTIONARY, beam_size=2, max_len_b=6)
    generator.generate([model], batch)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)  # as fairseq's optimisers do, unseen by autograd
    want = SequenceGenerator([model], DICTIONARY, beam_size=2, max_len_b=6).generate([model], batch)
    got = generator.generate([model], batch)
    assert [h[0]["tokens"].tolist() for h in got] == [h[0]["tokens"].tolist() for h in want]


def test_weights_of_a_model_made_for_inference_are_prepared_once():
    model = build_model()
    model.make_generation_fast_()
    engine = steppers.PreparedModel(model)
    first = engine.weights()
    assert engine.weights() is first
    model.half()
    assert engine.weights() is not first


def test_a_diverged_model_stops_the_search():
    model = build_model()
    with torch.no_grad():
        model.decoder.layers[0].fc2.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="NaN"):
        generate([model], sample(), FastGenerator)


def test_what_contradicts_itself_is_refused():
    call = {"prefix_tokens": torch.tensor([[6, 7], [8, 2], [5, 5]])}  # the second ends too early
    with pytest.raises(UserError, match="no translation that keeps to all of its prefix"):
        generate(
            [build_model()], sample([4, 4, 4]), FastGenerator, match_source_len=True, call=call
        )


def test_a_minimum_beyond_the_maximum_is_refused():
    with pytest.raises(UserError, match="--min-len is 7: it has to be at most 6"):
        generate([build_model()], sample(), FastGenerator, min_len=7)


def test_a_beam_as_large_as_the_vocabulary_is_refused():
    with pytest.raises(UserError, match=r"--beam is .* it has to be at most 11"):
        generate([build_model()], sample(), FastGenerator, beam_size=12)


@pytest.mark.parametrize(
    "name, settings, extra",
    [
        ("--sampling", {"sampling": True}, {}),
        ("--diverse-beam-groups", {"diverse_beam_groups": 2}, {}),
        ("--diversity-rate", {"diversity_rate": 0.5}, {}),
        ("--constraints", {"constraints": "ordered"}, {}),
        ("--retain-dropout", {"retain_dropout": True}, {}),
        ("--lm-path", {}, {"lm_model": object()}),
    ],
)
def test_what_it_does_not_know_is_refused_by_name(name, settings, extra):
    flag = "--memtx-generator"
    wanted = f"{name} cannot be used with {flag} fast or cuda-graphs: leave {flag} out"
    with pytest.raises(UserError) as refused:
        generator_class(Namespace(**settings), extra)
    assert str(refused.value) == wanted


def test_constraints_that_come_with_the_batch_are_refused():
    with pytest.raises(UserError, match="--constraints"):
        generate([build_model()], sample(), FastGenerator, call={"constraints": torch.ones(3, 1)})


def test_defaults_of_fairseqs_flags_are_not_refused():
    settings = {"sampling": False, "diverse_beam_groups": -1, "diversity_rate": -1.0}
    assert generator_class(Namespace(**settings), {}) is FastGenerator
    extra = {"lm_model": None}
    kind = generator_class(Namespace(print_alignment="hard"), extra)
    assert kind is FastGeneratorWithAlignment and extra["print_alignment"] == "hard"
