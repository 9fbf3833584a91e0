"""Which library multiplies matrices, found by a short trial on the machine that trains.

Which is faster, torch's own choice (MKL on x86) or oneDNN, depends on the processor, the sizes and
on whether a weight or its gradient is multiplied. A plan tries both once for each size and kind and
keeps the answer. oneDNN must be faster beyond the noise of the trial to be chosen.

Size legend: N rows, I inputs, O outputs of a linear map.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .onednn import pack, packed_linear, packing_works

# Kinds of products: those of many rows, and those of a recurrence's step, which have few and whose
# weight is packed.
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = "forward", "input gradient", "weight gradient"
STEP, STEP_BACK = "step", "step back"

MANY_ROWS, FEW_ROWS = 512, 32
# Where a weight is large, as that of a vocabulary, fewer rows say as much: multiplications at most.
MOST_PRODUCTS = 2**28
# A trial of one product ends after so many turns, or when it has taken this long.
LEAST_TURNS, MOST_TURNS, ENOUGH_SECONDS = 4, 12, 0.06
# oneDNN must take less than this share of torch's time.
CLEARLY = 0.95

Product = Callable[[], Tensor]

#: torch's own, whatever stands in its place.
plain_linear = F.linear


class Found(NamedTuple):
    """What a trial has found: seconds of a product.

    Attributes:
        torch: by torch's own choice of library.
        onednn: by oneDNN.
    """

    torch: float
    onednn: float

    @property
    def chosen(self) -> bool:
        """Whether oneDNN is chosen."""
        return self.onednn < CLEARLY * self.torch


Trial = Callable[[str, int, int], Found]


class Plan:
    """Choices between torch's own products and oneDNN's, in float32 on a CPU.

    Args:
        trial: finds the seconds of a product of a kind, O and I.

    Attributes:
        found: by kind, O and I.
    """

    def __init__(self, trial: Trial | None = None):
        self._trial = trial or try_both
        self.found: dict[tuple[str, int, int], Found] = {}

    def chooses_onednn(self, kind: str, outputs: int, inputs: int) -> bool:
        """Whether oneDNN makes this product; the first question of its size tries both."""
        key = kind, outputs, inputs
        if key not in self.found:
            self.found[key] = self._trial(*key)
        return self.found[key].chosen

    def try_all(self, shapes: Iterable[tuple[int, int]]) -> None:
        """Try the products of many rows with weights of these shapes `(O, I)`."""
        for shape in sorted(set(shapes)):
            for kind in (FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT):
                self.chooses_onednn(kind, *shape)

    def describe(self) -> str:
        """What was found, for the log."""
        chosen = [found for found in self.found.values() if found.chosen]
        before = sum(found.torch for found in self.found.values())
        after = sum(min(found) if found.chosen else found.torch for found in self.found.values())
        if not chosen:
            return f"torch's own are the fastest for all {len(self.found)} that were tried"
        return (
            f"oneDNN's for {len(chosen)} of {len(self.found)} that were tried, torch's own for the"
            f" others: {before / after:.2f} times as fast as torch's own alone"
        )


_in_use: ContextVar[Plan | None] = ContextVar("_in_use", default=None)


def plan_in_use() -> Plan | None:
    """The plan that products follow here, or None."""
    return _in_use.get()


@contextmanager
def following(plan: Plan | None) -> Iterator[None]:
    """Let products follow a plan."""
    token = _in_use.set(plan)
    try:
        yield
    finally:
        _in_use.reset(token)


def try_both(kind: str, outputs: int, inputs: int) -> Found:
    """Time both products in turns; the least seconds of each count, as noise only adds."""
    if not packing_works():
        return Found(0.0, float("inf"))
    with torch.no_grad():
        products = _products(kind, outputs, inputs)
        least = [float("inf")] * len(products)
        # Other work on the machine disturbs the processor's time less than the clock.
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        begin = clock()
        for turn in range(MOST_TURNS):
            for number, product in enumerate(products):
                start = clock()
                product()
                if turn > 0:  # the first call prepares
                    least[number] = min(least[number], clock() - start)
            if turn + 1 >= LEAST_TURNS and clock() - begin > ENOUGH_SECONDS:
                break
    return Found(*least)


def _products(kind: str, outputs: int, inputs: int) -> tuple[Product, Product]:
    """The product by torch and by oneDNN."""
    rows = FEW_ROWS
    if kind not in (STEP, STEP_BACK):
        rows = min(MANY_ROWS, max(MOST_PRODUCTS // (outputs * inputs), FEW_ROWS))
    # No random numbers: those of the training must not depend on a trial.
    weight, bias = torch.full((outputs, inputs), 0.5), torch.full((outputs,), 0.5)
    x, grad = torch.full((rows, inputs), 0.5), torch.full((rows, outputs), 0.5)
    if kind == FORWARD:
        return lambda: plain_linear(x, weight, bias), lambda: packed_linear(x, weight, bias)
    if kind == INPUT_GRADIENT:
        return lambda: grad.mm(weight), lambda: packed_linear(grad, weight.t(), None)
    if kind == WEIGHT_GRADIENT:
        return lambda: grad.t().mm(x), lambda: packed_linear(grad.t(), x.t(), None)
    if kind == STEP:
        packed = pack(weight)
        return lambda: plain_linear(x, weight, bias), lambda: packed_linear(x, packed, bias)
    packed = pack(weight.t())
    return lambda: grad.mm(weight), lambda: packed_linear(grad, packed, None)
