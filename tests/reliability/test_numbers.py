"""NaN, infinity and overflow, wherever they turn up, end the work in one error and save nothing.

In training the error comes with the step, and the training goes on from its last save as if nothing
had happened. In decoding no search returns a score that is no number: not fairseq's with our
decoders, not ours in Python, not the native engine.
"""

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from fairseq_memtx import checkpoints
from fairseq_memtx.commands import average, quantize, translate
from fairseq_memtx.modules.rounding import round_model
from tests.fairseq_memtx.native import compare
from tests.fairseq_memtx.searches import generate, sample
from tests.fairseq_memtx.tiny import build_model
from tests.fairseq_memtx.tiny_training import make_data, make_text
from tests.reliability.drawn import SEED
from tests.reliability.interrupted import DECODERS, LANGUAGE, TRANSLATION, Training
from tests.reliability.poisoned import VALUES, Poison, put
from tests.reliability.tally import Tally

SEGMENTS = {"memtx_segment_len": 3, "memtx_mem_len": 3}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "transformer": {},
    "memtx_feedback": {},
    "memtx_transformer_xl": SEGMENTS,
    "memtx_compressive": {**SEGMENTS, "memtx_cmem_len": 4, "memtx_compression_rate": 3},
}
FEW = 4


def model_of(architecture: str, name: str = "", value: str = "") -> Any:
    """A model that will not be trained any more, one weight of it changed if one is named."""
    model = compare.final(build_model(architecture, **ARCHITECTURES[architecture]))
    if name:
        put(dict(model.named_parameters())[name], VALUES[value])
    return model


def searches(model: Any, stock: bool) -> Iterator[tuple[str, Any]]:
    """What each search finds, or its error; fairseq's own among them where that is asked for."""
    batch = sample()
    yield "native", compare.search([model], batch, compare.Watched(), max_len_b=9)
    yield "python", compare.search([model], batch, None, max_len_b=9)
    if stock:
        try:
            yield "fairseq", generate([model], batch, SequenceGenerator, max_len_b=9)
        except (FloatingPointError, AssertionError) as error:
            yield "fairseq", repr(error)


def scores(found: Any) -> list[float]:
    return [float(hypo["score"]) for hypos in found for hypo in hypos]


def words(found: Any) -> list[list[int]]:
    return [hypo["tokens"].tolist() for hypos in found for hypo in hypos]


def is_stopped(found: Any) -> bool:
    """An error in place of hypotheses; fairseq's search trips over words that it cannot rank."""
    return isinstance(found, str) and found.startswith(("FloatingPointError", "AssertionError"))


def problem(found: Any, clean: Any, value: str) -> str:
    """What is wrong about a search with a changed weight; "" for nothing."""
    if is_stopped(found):
        return ""
    if isinstance(found, str) or not all(map(math.isfinite, scores(found))):
        return f"found {found}"
    # A weight that is never read may be anything. An infinite one may be used and say something:
    # a bias of -Inf before a ReLU switches a unit off; what overflows may be cut off again.
    return "" if value != "NaN" or words(found) == words(clean) else "found other words"


def changes(architecture: str) -> list[tuple[str, str]]:
    """Every weight with every value, in an order of the seed's."""
    names = [name for name, _ in model_of(architecture).named_parameters()]
    drawn = list(itertools.product(names, VALUES))
    random.Random(f"{SEED}:{architecture}").shuffle(drawn)
    return drawn


@pytest.mark.parametrize("rounded", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("count", [FEW, pytest.param(None, marks=pytest.mark.slow)])
def test_no_search_returns_what_is_no_number(
    architecture: str, rounded: bool, count: int | None, engine: Any, tally: Tally
) -> None:
    def prepared(*change: str) -> Any:
        model = model_of(architecture, *change)
        return round_model(model) if rounded else model

    stock = not rounded and architecture != "transformer"  # which would be all fairseq's
    clean, wrong = dict(searches(prepared(), stock)), []
    for name, value in changes(architecture)[:count]:
        try:
            model = prepared(name, value)
        except FloatingPointError:  # rounding looks at the weights
            tally.ours(True)
            continue
        for search, found in searches(model, stock):
            told = problem(found, clean[search], value)
            tally.ours(not told)
            wrong += [(name, value, search, told)] if told else []
    assert wrong == []
    assert tally.counts["tried"] >= FEW


@pytest.mark.parametrize("count", [1, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize("value", ["NaN", "Inf", "-Inf"])
def test_commands_name_the_weight(
    value: str, count: int, scattered: Path, data_bin: Path, tmp_path: Path, tally: Tally,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "text").write_text("the old dog\n")
    bad, out = tmp_path / "bad.pt", tmp_path / "out"
    flags = {
        average: ["--out", str(out)],
        quantize: ["--data", str(data_bin), "--out", str(out)],
        translate: ["--input", str(tmp_path / "text"), "--output", str(out)],
    }
    whole = torch.load(scattered, weights_only=True)
    names = sorted(name for name, weight in whole["model"].items() if weight.numel() > 1)
    for name in random.Random(f"{SEED}:{value}").sample(names, count):
        weights = {**whole["model"], name: whole["model"][name].clone()}
        put(weights[name], VALUES[value])
        torch.save({**whole, "model": weights}, bad)
        for command, more in flags.items():
            assert command.main([str(bad), *more]) == 1
            told = capsys.readouterr().err.strip().split("\n")[-1]
            survived = told.startswith(f"error: the weight `{name}` in `{bad}` has NaN or infinite")
            tally.ours(survived and not out.exists())
    assert tally.counts["tried"] == tally.counts["survived"]


#: Task and decoder.
TRAINED = [
    *(("memtx_translation", decoder) for decoder in DECODERS["memtx_translation"]),
    ("memtx_language_modeling", "feedback"),
    ("memtx_language_modeling", "compressive"),
]


def poisons() -> list[tuple[str, str, str, str]]:
    places = {"memtx_translation": ["weights", "loss", "gradients"]}
    return [
        (task, decoder, place, value)
        for task, decoder in TRAINED
        for place in places.get(task, ["weights", "loss", "gradients", "memory"])
        for value in VALUES
    ]


#: Tried by default.
ONE = ("compressive", "loss", "NaN")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Training, Path]]:
    """A training, and the last checkpoint of one that nothing disturbs, made once."""

    @functools.cache
    def make(task: str, decoder: str) -> tuple[Training, Path]:
        folder, is_text = tmp_path_factory.mktemp("whole"), task == "memtx_language_modeling"
        data = make_text(folder / "data") if is_text else make_data(folder / "data")
        flags = f"{DECODERS[task][decoder]} --max-update 6"
        training = Training(data, task, LANGUAGE if is_text else TRANSLATION, flags)
        return training, training.whole(folder / "save")

    return make


@pytest.mark.parametrize(
    ("task", "decoder", "place", "value"),
    [pytest.param(*case, marks=[] if case[1:] == ONE else pytest.mark.slow) for case in poisons()],
)
def test_a_training_ends_and_goes_on_from_before(
    task: str, decoder: str, place: str, value: str,
    whole: Callable[..., tuple[Training, Path]], tmp_path: Path, tally: Tally,
) -> None:  # fmt: skip
    training, end = whole(task, decoder)
    found = training.outcome(tmp_path / "save", Poison(place, value), end)
    tally.ours(found == "")
    assert found == ""
    for path in (tmp_path / "save").glob("checkpoint*.pt"):
        weights = checkpoints.load(path)["model"].values()
        assert all(bool(weight.isfinite().all()) for weight in weights)
