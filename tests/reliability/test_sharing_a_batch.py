"""A line alone and among 400: what a translation owes to those that share its batch.

Nothing, where our search finds it. In fairseq's own generator the length limit counts the longest
source of a batch.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_memtx.translator import SearchSettings, Translator
from tests.checkpoints import scattered_models
from tests.reliability.drawn import SEED
from tests.reliability.tally import Tally

#: Of each decoder, how far random weights are spread for translations that differ much.
DECODERS = {"transformer": 1.0, "feedback": 0.3, "transformer-xl": 0.3, "compressive": 0.6}
WORDS = ["the", "old", "dog", "sees", "a", "cat", "and", "reads", "no", "book"]
#: How the search is run. fairseq's own generator is slow.
WAYS = {
    "native": {"native": "on"},
    "python": {"native": "off"},
    "fairseq": {"generator": "fairseq"},
}


@pytest.fixture(scope="module")
def models(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model of a decoder, whose translations run into the limit."""
    folder = tmp_path_factory.mktemp("models")
    return scattered_models(data_bin, folder, DECODERS.__getitem__)


def text(count: int) -> list[str]:
    """Lines of 1 to 12 words."""
    draw = random.Random(SEED)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(count)]


def translations(model: Path, lines: list[str], batch_size: int, **search: object) -> list[str]:
    settings = SearchSettings(beam=2, batch_size=batch_size, **search)  # type: ignore[arg-type]
    return Translator.from_pretrained(model, search=settings).translate(lines)


def same(found: list[str], others: list[str]) -> int:
    return sum(one == other for one, other in zip(found, others, strict=True))


@pytest.mark.parametrize(
    ("decoder", "way", "count"),
    [
        pytest.param(decoder, way, count, marks=[] if count == 40 else pytest.mark.slow)
        for decoder in DECODERS
        for way in WAYS
        for count in (40, 400)
        if count == 400 or (decoder, way) == ("feedback", "native")
    ],
)
def test_with_a_limit_that_counts_no_source_nobody_matters(
    decoder: str, way: str, count: int, models: Callable[[str], Path], tally: Tally
) -> None:
    lines, limit = text(count), {"max_len_a": 0.0, "max_len_b": 12}
    alone = translations(models(decoder), lines, 1, **limit, **WAYS[way])
    shared = translations(models(decoder), lines, 100, **limit, **WAYS[way])
    assert len(set(alone)) > 10
    tally.ours(same(alone, shared), count)
    assert shared == alone


@pytest.mark.parametrize("way", ["native", pytest.param("python", marks=pytest.mark.slow)])
def test_the_limit_is_that_of_the_own_source(way: str, models: Callable[[str], Path]) -> None:
    """Short lines of this model run into their limits, which a long line beside them leaves."""
    limit = {"max_len_a": 1.0, "max_len_b": 0, **WAYS[way]}
    lines = [*text(9), " ".join(WORDS * 4)]
    alone = translations(models("feedback"), lines, 1, **limit)
    assert translations(models("feedback"), lines, len(lines), **limit) == alone
    wider = translations(models("feedback"), lines, 1, **{**limit, "max_len_a": 2.0})
    assert same(alone, wider) < len(lines)


@pytest.mark.slow
def test_in_fairseqs_generator_it_is_that_of_the_longest_source_of_a_batch(
    models: Callable[[str], Path],
) -> None:
    """A short line of this model runs into its limit, which a long line beside it moves."""
    model, limit = models("feedback"), {"max_len_a": 1.0, "max_len_b": 0, **WAYS["fairseq"]}
    lines = [*text(9), " ".join(WORDS * 4)]
    alone = translations(model, lines, 1, **limit)
    shared = translations(model, lines, len(lines), **limit)
    assert shared[-1] == alone[-1]
    assert same(alone, shared) < len(lines)
    # In a batch, each is what it is alone under the limit of the longest.
    translator = Translator.from_pretrained(model)
    longest = max(len(translator.encode(line)[0]) for line in lines) + 1  # the end symbol
    limit |= {"max_len_a": 0.0, "max_len_b": longest}
    assert shared == translations(model, lines, 1, **limit)
