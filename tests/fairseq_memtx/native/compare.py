"""The engine's search beside the Python search, which is its plain twin."""

from itertools import chain
from typing import Any

import torch

from fairseq_memtx.generation.generator import FastGenerator, FastGeneratorWithAlignment
from fairseq_memtx.native.searches import NativeSearches
from tests.fairseq_memtx.searches import generate, numbers

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
    same(got, want)
    return watched


def same(got: Any, want: Any) -> None:
    """Hypotheses are the same but for rounding and for the order of equal ones."""
    if isinstance(want, str) or isinstance(got, str):
        assert got == want
        return
    assert [len(hypos) for hypos in got] == [len(hypos) for hypos in want]
    for a, b in zip(chain.from_iterable(got), chain.from_iterable(want), strict=True):
        torch.testing.assert_close(a["score"], b["score"], **ROUNDING)
        assert a["tokens"].tolist() == b["tokens"].tolist()
        torch.testing.assert_close(a["positional_scores"], b["positional_scores"], **ROUNDING)
        torch.testing.assert_close(a["attention"], b["attention"], **ROUNDING)
        torch.testing.assert_close(numbers(a["alignment"]), numbers(b["alignment"]), **ROUNDING)
