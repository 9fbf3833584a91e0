"""Which batches the engine searches, and that nothing changes where it cannot."""

import itertools
import logging
from typing import Any

import pytest
import torch

from fairseq_memtx.modules.compression import COMPRESSIONS, MeanPool
from fairseq_memtx.modules.rounding import round_model
from fairseq_memtx.native import build, library
from tests.choosing import some
from tests.fairseq_memtx import searches, tiny
from tests.fairseq_memtx.generation.comparisons import MODELS
from tests.fairseq_memtx.generation.shortlists import SOME
from tests.fairseq_memtx.native import compare
from tests.fairseq_memtx.searches import DICTIONARY, sample
from tests.fairseq_memtx.tiny import build_model

COVERED = ["transformer", "memtx_feedback", "memtx_transformer_xl", "memtx_compressive"]
#: Lengths that a search of a hundred words crosses many times.
SEGMENTS: dict[str, dict[str, Any]] = {
    "memtx_transformer_xl": {"memtx_segment_len": 6, "memtx_mem_len": 7},
    "memtx_compressive": {
        "memtx_segment_len": 6,
        "memtx_mem_len": 7,
        "memtx_cmem_len": 5,
        "memtx_compression_rate": 3,
    },
}


def searched(model: Any, **how: Any) -> compare.Watched:
    """The engine's search of a usual batch, compared."""
    watched = compare.check([compare.final(model)], sample([4, 2, 5, 3]), **how)
    assert watched.num_found == 1, watched.reasons
    return watched


@pytest.mark.parametrize(
    ("architecture", "beam"), some(itertools.product(COVERED, [1, 2, 5, 11]), 3)
)
def test_beams_of_every_size(architecture: str, beam: int, engine: Any) -> None:
    for pre_norm in (False, True):
        model = build_model(architecture, decoder_layers=3, decoder_normalize_before=pre_norm)
        searched(model, beam_size=beam, max_len_b=20)


@pytest.mark.parametrize("architecture", COVERED)
def test_hypotheses_outlast_the_first_slots(architecture: str, engine: Any) -> None:
    model = build_model(architecture, max_target_positions=256, **SEGMENTS.get(architecture, {}))
    searched(model, beam_size=3, max_len_b=150, min_len=140, max_len=256)


@pytest.mark.parametrize("architecture", COVERED)
def test_a_shortlist(architecture: str, engine: Any) -> None:
    for seed in (1, 2):
        searched(build_model(architecture, seed=seed), shortlist=SOME, beam_size=2)


@pytest.mark.parametrize("words", some([60, 59, 61, 300], 3))
def test_vocabularies_and_beams_of_other_sizes(words: int, engine: Any, monkeypatch: Any) -> None:
    """The words are looked through in blocks of 64; four of them are fairseq's symbols."""
    monkeypatch.setattr(tiny, "WORDS", words)
    monkeypatch.setattr(searches, "DICTIONARY", tiny.tiny_dictionary())
    for beam in (4, min(words, 250)):
        for architecture in COVERED:
            searched(build_model(architecture), beam_size=beam, max_len_b=8)


@pytest.mark.parametrize("architecture", COVERED)
def test_a_source_of_thousands_of_words(architecture: str, engine: Any) -> None:
    model = build_model(architecture, max_source_positions=4096)
    batch = sample([2500, 1])
    watched = compare.check([compare.final(model)], batch, max_len_a=0, max_len_b=3)
    assert watched.num_found == 1, watched.reasons


def test_output_does_not_depend_on_the_number_of_threads(engine: Any) -> None:
    batch, model = sample([4, 2, 5, 3, 6, 1, 2]), compare.final(build_model())
    found = [compare.search([model], batch, compare.Watched(n)) for n in (1, 2, 3, 9)]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert [h["tokens"].tolist() for h in a] == [h["tokens"].tolist() for h in b]
            assert [float(h["score"]) for h in a] == [float(h["score"]) for h in b]


@pytest.mark.parametrize("architecture", COVERED)
def test_eight_bits_do_not_depend_on_who_shares_the_batch(architecture: str, engine: Any) -> None:
    """Each row of an input is rounded by itself, and each output summed in one order."""
    sizes = {
        f"{side}_{name}": size
        for side in ("encoder", "decoder")
        for name, size in {"embed_dim": 32, "ffn_embed_dim": 40, "attention_heads": 4}.items()
    }
    for rounds in (True, False):
        model = compare.final(build_model(architecture, **sizes))
        model = round_model(model) if rounds else model
        lengths = [5, 3, 1, 6, 2, 2, 4]
        batch = sample(lengths)
        watched = compare.Watched()
        together = compare.search([model], batch, watched, max_len_a=0, max_len_b=20)
        for number in range(len(lengths)):
            one = {name: x[number : number + 1] for name, x in batch["net_input"].items()}
            alone = compare.search([model], {"net_input": one}, watched, max_len_a=0, max_len_b=20)
            for a, b in zip(alone[0], together[number], strict=True):
                assert a["tokens"].tolist() == b["tokens"].tolist()
                assert a["positional_scores"].tolist() == b["positional_scores"].tolist()
        assert watched.num_found == 1 + len(lengths)


@pytest.mark.parametrize("architecture", COVERED)
def test_eight_bits_score_nearly_what_floats_do(architecture: str, engine: Any) -> None:
    model, batch = compare.final(build_model(architecture)), sample()
    floats = compare.search([model], batch, compare.Watched(), beam_size=1)
    watched = compare.Watched()
    rounded = compare.search([round_model(model)], batch, watched, beam_size=1)
    assert watched.num_found == 1
    for a, b in zip(floats, rounded, strict=True):
        torch.testing.assert_close(a[0]["score"], b[0]["score"], rtol=0, atol=0.1)


@pytest.mark.parametrize("architecture", COVERED)
@pytest.mark.parametrize("rounds", [False, True])
def test_a_model_that_has_diverged_is_named(architecture: str, rounds: bool, engine: Any) -> None:
    for part in ("encoder", "decoder"):
        model = compare.final(build_model(architecture))
        model = round_model(model) if rounds else model
        with torch.no_grad():
            getattr(model, part).layers[0].final_layer_norm.weight[0] = float("nan")
        found = compare.search([model], sample(), compare.Watched())
        assert found == 'FloatingPointError("the decoder\'s output is NaN: the model has diverged")'


# --- What the engine does not know ----------------------------------------------------------------


def unknown(model: Any, batch: Any = None, **how: Any) -> list[str]:
    """Why the engine leaves a batch to the Python search, whose result it is then."""
    watched = compare.check([model], sample() if batch is None else batch, **how)
    assert watched.num_found == 0
    return watched.reasons


@pytest.mark.parametrize("architecture", COVERED)
def test_what_it_does_not_know_goes_to_the_python_search(architecture: str, engine: Any) -> None:
    def other(**settings: Any) -> Any:
        return compare.final(build_model(architecture, **settings))

    assert unknown(build_model(architecture).float()) == ["the model may still be trained"]
    double = other().double()
    assert unknown(double) == ["its weights are not in float32 on a CPU"]
    assert unknown(other(activation_fn="relu_squared")) == [
        "its activation function is another one"
    ]
    softmax = {"adaptive_softmax_cutoff": "4,8", "adaptive_softmax_factor": 2}
    assert unknown(other(**softmax)) == ["it has an adaptive softmax"]
    dims = {"decoder_output_dim": 4}
    assert unknown(other(**dims)) == ["its embedding has another dimension than its layers"]


def test_the_log_says_why_once(engine: Any, caplog: Any) -> None:
    native, model = compare.NativeSearches(), build_model().float()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            compare.search([model], sample(), native)
    found = [r.getMessage() for r in caplog.records if "native engine" in r.getMessage()]
    assert found == ["searching without the native engine: the model may still be trained"]


@pytest.mark.parametrize("broken", ["compiler", "build", "self-test", "level"])
def test_without_an_engine_there_is_one_warning(
    broken: str, engine: Any, monkeypatch: Any, tmp_path: Any, caplog: Any
) -> None:
    if broken == "compiler":
        monkeypatch.setenv("CXX", "no-such-compiler")
    elif broken == "build":
        monkeypatch.setattr(build, "FLAGS", ("-no-such-flag",))
    elif broken == "level":
        monkeypatch.setenv(library.LEVEL_VARIABLE, "no-such-level")
    else:
        call = library.Library.call

        def fail(self: Any, name: str, *args: Any) -> None:
            if name == "self_test":
                raise RuntimeError("the kernels compute wrong results")
            call(self, name, *args)

        monkeypatch.setattr(library.Library, "call", fail)
    if broken in ("compiler", "build"):
        monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path))
    library._load.cache_clear()
    try:
        model, native = compare.final(build_model()), compare.NativeSearches()
        batch = sample()
        want = compare.search([model], batch, None)
        with caplog.at_level(logging.INFO):
            for _ in range(2):
                compare.same(compare.search([model], batch, native), want)
    finally:
        library._load.cache_clear()
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "searching without the native engine: " in warnings[0].getMessage()


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_is_searched(name: str, engine: Any) -> None:
    architecture, settings = MODELS[name]
    searched(build_model(architecture, **settings), max_len_b=12)


@pytest.mark.parametrize("kind", list(COMPRESSIONS))
@pytest.mark.parametrize("mem_len", [6, 10, 12])
def test_every_compression_is_searched(kind: str, mem_len: int, engine: Any) -> None:
    if kind == "most-used" and mem_len % 6 != 0:
        pytest.skip("its memory must be whole segments")
    lengths = {"memtx_segment_len": 6, "memtx_mem_len": mem_len, "memtx_cmem_len": 5}
    settings = {**lengths, "memtx_compression_rate": 3, "memtx_compression": kind}
    searched(build_model("memtx_compressive", **settings), max_len_b=40, min_len=35, max_len=64)


def test_a_compression_that_it_does_not_know(engine: Any) -> None:
    class Other(MeanPool):
        pass

    model = compare.final(build_model("memtx_compressive", memtx_compression="mean-pool"))
    for layer in model.decoder.all_layers():
        layer.self_attn.compression.__class__ = Other
    assert unknown(model) == ["its compression function is another one"]


def test_ensembles(engine: Any) -> None:
    models = [compare.final(build_model(name, seed=2)) for name in COVERED]
    watched = compare.check(models, sample(), beam_size=4, align="soft", temperature=0.8)
    assert watched.num_found == 1
    assert DICTIONARY.eos() == 2
