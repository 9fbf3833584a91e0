"""The engine's search beside the Python search, which is its plain twin."""

from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fairseq_memtx.generation.generator import FastGenerator, FastGeneratorWithAlignment
from fairseq_memtx.native.searches import NativeSearches
from tests.fairseq_memtx import searches
from tests.fairseq_memtx.generation import draws
from tests.fairseq_memtx.searches import DICTIONARY, generate

#: Rows, inputs and outputs of products: those that fill vectors and blocks, and others.
SIZES = [(1, 1, 1), (2, 3, 5), (5, 4, 16), (7, 22, 33), (13, 256, 130), (40, 64, 7), (3, 1030, 64)]

#: Sums of float32 rounded in another order: a score of 30 words of log-probability about -1 each.
ROUNDING = {"rtol": 2e-5, "atol": 2e-5}


class Watched(NativeSearches):
    """Notes what it searched, and why it did not."""

    def __init__(self, threads: int = 1):
        super().__init__(threads)
        self.num_found, self.reasons = 0, list[str]()

    def find(self, *args: Any) -> Any:
        found = super().find(*args)
        self.num_found += found is not None
        return found

    def _tell(self, reason: str, level: int = 0) -> None:
        self.reasons.append(reason)


def final(model: Any) -> Any:
    """A model in float32 that will not be trained any more."""
    model = model.float()
    model._is_generation_fast = True
    return model


def search(
    models: list[Any], batch: dict[str, Any], native: NativeSearches | None, **how: Any
) -> Any:
    """Hypotheses, or the error that there is in their place."""
    align = how.pop("align", "")
    kind = FastGeneratorWithAlignment if align else FastGenerator
    more = {"print_alignment": align} if align else {}
    try:
        return generate(models, batch, kind, native=native, **{**how, **more})
    except Exception as error:
        return repr(error)


def check(
    models: list[Any], batch: dict[str, Any], native: NativeSearches | None = None, **how: Any
) -> Watched:
    """Both searches must find the same; returns what the engine did."""
    watched = Watched() if native is None else native
    want = search(models, batch, None, **how)
    got = search(models, batch, watched, **how)
    same(got, want, lambda found: rescored(found, models, batch, **how))
    return watched


def rescored(found: list[list[Any]], models: list[Any], batch: dict[str, Any], **how: Any) -> Any:
    """What the Python search makes of the same words, forced upon it: a list for each rank.

    Without alignments, which fairseq cannot find for words that are forced.
    """
    made = []
    how.pop("align", None)
    for rank in range(len(found[0])):
        rows = [hypos[rank]["tokens"] for hypos in found]
        prefix = pad_sequence(rows, batch_first=True, padding_value=DICTIONARY.pad())
        call = {**how.get("call", {}), "prefix_tokens": prefix}
        made.append(search(models, batch, None, **{**how, "call": call}))
    return made


def same(got: Any, want: Any, rescore: Callable[[Any], Any] | None = None) -> None:
    """Hypotheses are the same but for rounding, and for which one of equals is found.

    Hypotheses of the same rank must have the same scores. Where their words are others all the
    same, that must be a tie: `rescore` says what the plain search makes of the words that were
    found, which must have these scores there too.
    """
    if isinstance(want, str) or isinstance(got, str):
        assert got == want
        return
    assert [len(hypos) for hypos in got] == [len(hypos) for hypos in want]
    forced = None
    for number, (hypos, others) in enumerate(zip(got, want, strict=True)):
        assert len({words(h) for h in hypos}) == len({words(h) for h in others})
        for rank, (a, b) in enumerate(zip(hypos, others, strict=True)):
            torch.testing.assert_close(a["score"], b["score"], **ROUNDING)
            if words(a) == words(b):
                same_scores(a, b, ["positional_scores", "attention", "alignment"])
                continue
            assert rescore is not None, (words(a), words(b))
            forced = rescore(got) if forced is None else forced
            b = next(h for h in forced[rank][number] if words(h) == words(a))
            same_scores(a, b, ["score", "positional_scores"])


def same_scores(a: dict[str, Any], b: dict[str, Any], names: list[str]) -> None:
    """What two hypotheses of the same words have is the same but for rounding."""
    for name in names:
        torch.testing.assert_close(numbers(a[name]), numbers(b[name]), **ROUNDING)


def numbers(values: Any) -> Tensor:
    """Scores are tensors, hard alignments pairs, soft ones rows of text."""
    return values if isinstance(values, Tensor) else searches.numbers(values)


def words(hypothesis: dict[str, Any]) -> tuple[int, ...]:
    """Of a hypothesis."""
    return tuple(hypothesis["tokens"].tolist())


def compare_one(seed: int) -> Watched:
    """One comparison; what the engine did."""
    random = Random(seed)
    torch.manual_seed(seed)
    number = random.choice([1, 1, 1, 2, 3])
    models = [final(draws.draw_model(random, 3 * seed + i)) for i in range(number)]
    batch = draws.draw_batch(random)
    options: dict[str, Any] = draws.draw_options(random, len(batch["id"]))
    options = {name: value for name, value in options.items() if name != "align" or value}
    options["own_limits"] = seed % 2 == 0 and len(batch["id"]) > 1
    return check(models, batch, Watched(threads=1 + seed % 3), **options)


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Rows as integers of -127 to 127, as the engine rounds them."""
    size = x.abs().amax(dim=1, keepdim=True)
    return (x * torch.where(size > 0, 127.0 / size, 0.0)).round()
