"""What the C interface is given: wrong calls raise, and none crashes, by chance or by design."""

import dataclasses
import os
import re
import subprocess
import sys
from typing import Any

import pytest
import torch

from fairseq_memtx.decoding.search_options import Limits, SearchOptions
from fairseq_memtx.native import library
from fairseq_memtx.native.weights import Writer
from tests.checkout import CHECKOUT
from tests.fairseq_memtx.tiny import build_model

OPTIONS = SearchOptions(beam_size=2, max_len=5, min_len=1, pad=1, unk=3, eos=2, bos=2)


@pytest.fixture(scope="module")
def model(engine: Any) -> library.NativeModel:
    parts = library.Parts(*engine)
    Writer(parts, by_rows=False).model(build_model().float())
    return library.NativeModel(parts)


def request(**other: Any) -> library.Request:
    return library.Request(torch.tensor([[5, 6, 2]]), OPTIONS, Limits())._replace(**other)


def test_a_usual_call_finds_hypotheses(model: library.NativeModel) -> None:
    found = library.translate([model], request())
    assert len(found.sentence) == 2 and int(found.length.sum()) == len(found.words)


WRONG: dict[str, dict[str, Any]] = {
    "the sources must be words": {"source": torch.tensor([[99, 2]])},
    "a source must have a word": {"source": torch.tensor([[1, 1]])},
    "has to be a tensor of 2 dimensions": {"source": torch.tensor([5, 2])},
    "has to be a tensor": {"source": torch.tensor([[5, 2]], dtype=torch.int32)},
    "the prefixes must be words": {"limits": Limits(torch.tensor([[-4]]))},
    "has to have a row for each sentence": {"limits": Limits(torch.tensor([[4], [4]]))},
    "exact lengths must be": {"limits": Limits(None, torch.tensor([-1]))},
    "the longest lengths must be": {"limits": Limits(longest=torch.tensor([-1]))},
    "none for lists of words": {"words": torch.arange(13)},
    "must rise and be words": {"words": torch.tensor([4, 3, 2])},
    "the temperature must be positive": {"temperature": 0.0},
    "there must be a thread": {"threads": 0},
}
WRONG_OPTIONS: dict[str, dict[str, Any]] = {
    "the beam must be 1 to": {"beam_size": 12},
    "the maximum length must be": {"max_len": -1},
    "there are fewer positions than words": {"max_len": 64},
    "the minimum length must be at most": {"min_len": 6},
    "the symbols must be words": {"eos": 13},
    "padding and end must be different": {"eos": 1},
    "the order of n-grams must be": {"no_repeat_ngram_size": -1},
    "the unknown penalty must be a number": {"unk_penalty": float("nan")},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_batch_raises(message: str, model: library.NativeModel) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        library.translate([model], request(**WRONG[message]))


def memory(**other: Any) -> library.NativeMemory:
    made = library.NativeMemory(torch.randn(2, 1, 3, 8), torch.tensor([2]))
    return made._replace(**other)


STATES = {"compressed_first": torch.randn(2, 1, 2, 8), "compressed": torch.tensor([1])}
WRONG_MEMORIES: dict[str, dict[str, Any]] = {
    "must have the kinds of entries": {"first": torch.randn(3, 1, 3, 8)},
    "must have the model's size": {"first": torch.randn(2, 1, 3, 4)},
    "have to be of the same sizes": {"first": torch.randn(2, 2, 3, 8)},
    "the same sizes, those of the batch": {"entries": torch.tensor([2, 2])},
    "0 entries to as many as": {"entries": torch.tensor([4])},
    "entries to as many as there is room for": {"entries": torch.tensor([-1])},
    "has to be a tensor of 4 dimensions": {"first": torch.randn(2, 3, 8)},
    "has to be a tensor": {"first": torch.randn(2, 1, 3, 8, dtype=torch.float64)},
    "be of the same sizes": {"compressed": torch.tensor([1])},
    "of the same sizes": {**STATES, "compressed_first": torch.randn(2, 1, 2, 7)},
    "to as many as": {**STATES, "compressed": torch.tensor([3])},
    "be of the same sizes, those": {"received": torch.zeros(2, 1, 2)},
}


@pytest.fixture(scope="module")
def compressive(engine: Any) -> library.NativeModel:
    parts = library.Parts(*engine)
    lengths = {"memtx_segment_len": 2, "memtx_mem_len": 4, "memtx_compression_rate": 2}
    model = build_model("memtx_compressive", **lengths)
    Writer(parts, by_rows=False, carries=True).model(model.float())
    return library.NativeModel(parts)


@pytest.mark.parametrize("message", WRONG_MEMORIES)
def test_a_wrong_memory_raises(message: str, compressive: library.NativeModel) -> None:
    usual = [memory(), memory(**STATES), memory(received=torch.ones(2, 1, 3)), None]
    for right in usual:
        library.translate([compressive], request(memories=[right]))
    wrong = memory(**WRONG_MEMORIES[message])
    with pytest.raises(ValueError, match=re.escape(message)):
        library.translate([compressive], request(memories=[wrong]))


def test_memories_are_for_models_that_remember(model: library.NativeModel, engine: Any) -> None:
    for few in ([], [memory(), memory()]):
        with pytest.raises(ValueError, match="each model has to have a memory, or None"):
            library.translate([model], request(memories=few))
    with pytest.raises(ValueError, match="a Feedback decoder has no compressed memory"):
        library.translate([model], request(memories=[memory(**STATES)]))
    for architecture, message in {
        "transformer": "the kinds of entries that the model remembers",
        "memtx_transformer_xl": "keys of too few distances for a memory",
    }.items():
        parts = library.Parts(*engine)
        other = build_model(architecture, max_target_positions=8).float()
        Writer(parts, by_rows=False).model(other)
        with pytest.raises(ValueError, match=message):
            library.translate([library.NativeModel(parts)], request(memories=[memory()]))


@pytest.mark.parametrize("message", WRONG_OPTIONS)
def test_wrong_options_raise(message: str, model: library.NativeModel) -> None:
    options = dataclasses.replace(OPTIONS, **WRONG_OPTIONS[message])
    with pytest.raises(ValueError, match=re.escape(message)):
        library.translate([model], request(options=options))


def test_parts_that_are_missing_or_do_not_fit_are_named(engine: Any) -> None:
    parts = library.Parts(*engine)
    with pytest.raises(ValueError, match=r"the part `source\.dim` is missing"):
        library.NativeModel(parts)
    Writer(parts, by_rows=False).model(build_model().float())
    parts.number("decoder.heads", 3)
    with pytest.raises(ValueError, match="the decoder's heads must divide its size"):
        library.NativeModel(parts)
    parts = library.Parts(*engine)
    Writer(parts, by_rows=False).model(build_model().float())
    parts.linear("output", torch.zeros(12, 8), None, None)
    with pytest.raises(ValueError, match="the map `output` must have 8 inputs and 13 outputs"):
        library.NativeModel(parts)


@pytest.mark.slow
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="it takes all addresses")
def test_too_little_memory_raises_and_breaks_nothing(engine: Any) -> None:
    # each block its own pages: all of them count as address space, and come back when freed
    tuned = {"MALLOC_MMAP_THRESHOLD_": "4096", "MALLOC_ARENA_MAX": "1"}
    found = subprocess.run(
        [sys.executable, "-m", "tests.fairseq_memtx.native.starved"],
        env={**os.environ, **tuned}, capture_output=True, text=True, cwd=CHECKOUT,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    counts = [int(number) for number in re.findall(r"\d+", found.stdout)]
    assert len(counts) == 4 and min(counts) > 5, found.stdout
    assert found.stdout.endswith("afterwards the same\n")


def fuzzed(seed: int, count: int, **how: Any) -> str:
    command = [sys.executable, "-m", "tests.fairseq_memtx.native.fuzz", str(seed), str(count)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, **how)
    assert found.returncode == 0, found.stderr[-4000:]
    return found.stdout


def test_calls_by_chance_do_not_crash(engine: Any) -> None:
    done = re.search(r"'raised': (\d+), 'done': (\d+)", fuzzed(1, 300))
    assert done is not None
    assert min(map(int, done.groups())) > 30


@pytest.mark.slow
def test_many_calls_by_chance_do_not_crash(engine: Any) -> None:
    for seed in range(2, 12):
        fuzzed(seed, 2000)
