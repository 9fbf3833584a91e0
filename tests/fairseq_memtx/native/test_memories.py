"""The engine's searches that begin with the memory of a document, against the Python search."""

import itertools
from random import Random
from typing import Any

import pytest
import torch

from fairseq_memtx.modules.carried_memory import CarriedMemory
from fairseq_memtx.modules.pair_memory import PairMemory
from fairseq_memtx.modules.rounding import round_model
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentMemory
from tests.choosing import some
from tests.fairseq_memtx.native import compare
from tests.fairseq_memtx.native.memories import (
    Given,
    by_chance,
    compare_one,
    drawn,
    left_by_texts,
)
from tests.fairseq_memtx.searches import sample
from tests.fairseq_memtx.tiny import build_model

FEW, MANY, CHUNK = 6, 1206, 100
SEGMENTS = {"memtx_segment_len": 4, "memtx_mem_len": 8}
COMPRESSION = {"memtx_cmem_len": 3, "memtx_compression_rate": 2}
MODELS: dict[str, dict[str, Any]] = {
    "feedback": {
        "model": "memtx_feedback",
        "memtx_relative_positions": 5,
        "memtx_memory_span": 9,
        "no_token_positional_embeddings": True,
    },
    "transformer-xl": {"model": "memtx_transformer_xl", **SEGMENTS},
    "compressive": {"model": "memtx_compressive", **SEGMENTS, **COMPRESSION},
    "most-used": {
        "model": "memtx_compressive",
        "memtx_compression": "most-used",
        **SEGMENTS,
        **COMPRESSION,
    },
}
every_model = pytest.mark.parametrize("name", MODELS)


def model_of(name: str, **settings: Any) -> Any:
    return compare.final(build_model(**{**MODELS[name], **settings}))


@pytest.mark.parametrize("seed", range(FEW))
def test_searches_that_begin_with_memories_find_the_same(seed: int, engine: Any) -> None:
    watched = compare_one(seed)
    assert watched.num_found == 1, watched.reasons


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FEW, MANY, CHUNK))
def test_many_searches_that_begin_with_memories_find_the_same(first: int, engine: Any) -> None:
    for seed in range(first, first + CHUNK):
        try:
            watched = compare_one(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        assert watched.num_found == 1, (seed, watched.reasons)


@pytest.mark.parametrize("name", some(MODELS, 2))
def test_a_memory_outlasts_a_search_of_many_segments(name: str, engine: Any) -> None:
    """Slots, room and segments are used up many times, and the memory leaves the view."""
    torch.manual_seed(1)
    model = model_of(name, max_target_positions=128)
    batch = sample([4, 2, 5])
    with torch.no_grad():
        batch["lanes"] = left_by_texts(Random(3), [model], 3)
    lengths = {"beam_size": 3, "max_len_b": 90, "min_len": 85, "max_len": 128}
    watched = compare.check([model], batch, **lengths)
    assert watched.num_found == 1, watched.reasons


@pytest.mark.parametrize("name", ["transformer-xl", "compressive"])
def test_a_memory_may_be_longer_than_any_sentence(name: str, engine: Any) -> None:
    """There are keys of distances further than the decoder has positions."""
    torch.manual_seed(1)
    lengths = {"memtx_mem_len": 40, "max_target_positions": 7}
    model, batch = model_of(name, **lengths), sample([4, 2, 5])
    batch["lanes"] = by_chance(Random(1), [model], 3)
    watched = compare.check([model], batch, max_len_b=5)
    assert watched.num_found == 1, watched.reasons
    del batch["lanes"]  # with the same engine's model
    compare.check([model], batch, watched, max_len_b=5)
    assert watched.num_found == 2, watched.reasons


def test_an_ensemble_has_a_memory_for_each_model(engine: Any) -> None:
    torch.manual_seed(1)
    models = [model_of(name) for name in MODELS]
    batch = sample([4, 2, 5, 3])
    with torch.no_grad():
        batch["lanes"] = left_by_texts(Random(1), models, 4)
    watched = compare.check(models, batch, beam_size=4, align="soft")
    assert watched.num_found == 1, watched.reasons
    batch["lanes"].memories._lanes[id(models[1])].clear()  # nothing for one of them
    watched = compare.check(models, batch)
    assert watched.num_found == 1, watched.reasons


@pytest.mark.parametrize(("name", "rounds"), some(itertools.product(MODELS, [True, False]), 2))
def test_nothing_depends_on_who_shares_the_batch(name: str, rounds: bool, engine: Any) -> None:
    torch.manual_seed(2)
    model = round_model(model_of(name)) if rounds else model_of(name)
    lengths = [5, 3, 1, 6, 2]
    batch, watched, memory = sample(lengths), compare.Watched(), None
    while memory is None:
        memory = drawn(Random(4), model.decoder, len(lengths))
    lanes, how = Given({id(model): memory}), {"max_len_a": 0, "max_len_b": 15}
    together = compare.search([model], {**batch, "lanes": lanes}, watched, **how)
    without = compare.search([model], batch, watched, **how)
    assert any(a[0]["score"] != b[0]["score"] for a, b in zip(together, without, strict=True))
    for number in range(len(lengths)):
        one = {name: x[number : number + 1] for name, x in batch["net_input"].items()}
        call = {"net_input": one, "lanes": lanes.of_row(number)}
        (alone,) = compare.search([model], call, watched, **how)
        for a, b in zip(alone, together[number], strict=True):
            assert a["tokens"].tolist() == b["tokens"].tolist()
            assert a["positional_scores"].tolist() == b["positional_scores"].tolist()
    assert watched.num_found == 2 + len(lengths)


# --- What the engine does not know ----------------------------------------------------------------


def unknown(model: Any, memory: Any) -> list[str]:
    """Why the engine leaves a batch that begins with a memory to the Python search."""
    watched = compare.check([model], {**sample([4, 2]), "lanes": Given({id(model): memory})})
    assert watched.num_found == 0
    return watched.reasons


def test_memories_that_it_does_not_know_go_to_the_python_search(engine: Any) -> None:
    torch.manual_seed(1)
    xl, feedback = model_of("transformer-xl"), model_of("feedback")
    states, nothing = torch.randn(2, 3, 8), torch.zeros(2, 0, 8)
    gap = torch.tensor([[False, True, False], [False, False, False]])
    standing = "the entries of a memory do not stand at the end of their row"
    entries = torch.randn(1, 2, 2, 3, 4)
    assert unknown(feedback, CarriedMemory(entries, entries, gap)) == [standing]
    layers = [LayerMemory(states, nothing, gap), LayerMemory(states, nothing)]
    assert unknown(xl, SegmentMemory(layers)) == [standing]
    layers = [LayerMemory(states[:, 1:], nothing), LayerMemory(states, nothing)]
    reason = "the layers do not remember equally many positions"
    assert unknown(xl, SegmentMemory(layers)) == [reason]
    pair = PairMemory(
        SegmentMemory([LayerMemory(states, nothing)]), CarriedMemory(entries, entries)
    )
    assert unknown(feedback, pair) == ["the encoder remembers too"]
    layers = [LayerMemory(nothing, nothing), LayerMemory(states, nothing)]
    assert unknown(xl, SegmentMemory(layers)) == [reason]


@every_model
def test_a_memory_of_nothing_is_none(name: str, engine: Any) -> None:
    model, batch = model_of(name), sample([4, 2])
    row = torch.zeros(2, 0, 8)
    empty = SegmentMemory([LayerMemory(row, row)] * 2)
    if name == "feedback":
        empty = CarriedMemory(*[torch.zeros(1, 2, 2, 0, 4)] * 2)
    want = compare.search([model], batch, compare.Watched())
    watched = compare.Watched()
    got = compare.search([model], {**batch, "lanes": Given({id(model): empty})}, watched)
    assert watched.num_found == 1, watched.reasons
    for a, b in zip(got, want, strict=True):
        assert [h["score"] for h in a] == [h["score"] for h in b]
