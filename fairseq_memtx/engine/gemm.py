"""Matrix products of a recurrence: one weight against a few rows at every step, both ways.

The weights do not change between the steps of an update. On a CPU in float32 they are therefore
packed once into oneDNN's own layout (processors with AVX-512 gain 1.3 to 2.3 times at 64 rows over
torch's default product). The packed product has no public name in torch; where it is missing or
wrong, the plain one takes its place. Where a plan is in use (`compute.plan`), it decides for each
size of product which of the two it is.

Size legend: N rows, I inputs, O outputs of a linear map.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from ..compute.onednn import pack, packed_linear, packed_linear_add, usable
from ..compute.plan import STEP, STEP_BACK, WEIGHT_GRADIENT, plain_linear, plan_in_use

# Packing costs about as much as one product: it must be used more often than this to pay.
MIN_PACKED_USES = 4

_packed_already: ContextVar[dict | None] = ContextVar("_packed_already", default=None)


class Projection:
    """`x W^T + b` and its backward, for a weight that stays the same over many calls.

    Args:
        weight: `(O, I)`.
        bias: `(O,)`.
        dtype: that the products run in.
        uses: number of calls to expect.
        backward: also prepare for `back`.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, dtype: torch.dtype, uses: int, backward: bool = True
    ):
        self.weight, self.bias = weight.to(dtype), bias.to(dtype)
        often = uses >= MIN_PACKED_USES
        self._forward = self._backward = None
        if often and packs(self.weight, STEP):
            self._forward = _pack_once(self.weight, transposed=False)
        if often and backward and packs(self.weight, STEP_BACK):
            self._backward = _pack_once(self.weight, transposed=True)
        self._times: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """x `(N, I)` -> `(N, O)`."""
        if self._forward is not None:
            return packed_linear(x, self._forward, self.bias)
        return plain_linear(x.to(self.weight.dtype), self.weight, self.bias)

    def times(self, x: Tensor, factor: float, out: Tensor) -> Tensor:
        """`factor` times the result for x, written to out `(N, O)`."""
        if self._forward is not None:
            return torch.mul(self(x), factor, out=out)
        if self._times is None:
            self._times = (self.weight * factor).t(), self.bias * factor
        weight, bias = self._times
        return torch.addmm(bias, x.to(weight.dtype), weight, out=out)

    def back(self, grad: Tensor) -> Tensor:
        """The gradient of the input `(N, I)` from that of the output `(N, O)`."""
        if self._backward is not None:
            return packed_linear(grad, self._backward, None)
        return torch.mm(grad, self.weight)

    def back_into(self, grad: Tensor, out: Tensor) -> Tensor:
        """`back(grad)`, written to out `(N, I)`, of any dtype."""
        if self._backward is not None or out.dtype != grad.dtype:
            return out.copy_(self.back(grad))
        return torch.mm(grad, self.weight, out=out)

    def back_add(self, grad: Tensor, other: Tensor, out: Tensor | None = None) -> Tensor:
        """`back(grad) + other`, in the dtype of `other` `(N, I)`; `out` is used if that helps."""
        if self._backward is not None:
            return packed_linear_add(grad, self._backward, other)
        if other.dtype == grad.dtype:
            return torch.addmm(other, grad, self.weight, out=out)
        return torch.add(other, torch.mm(grad, self.weight), out=out)


def weight_gradient(inputs: Tensor, grads: Tensor, other: Tensor | None = None) -> Tensor:
    """A linear map's gradient `(O, I)`, to which `other` is added.

    Args:
        inputs: `(N, I)`.
        grads: of the outputs, `(N, O)`.
        other: `(O, I)` or None; may be overwritten.
    """
    inputs = inputs.to(grads.dtype)
    if packs(grads.t(), WEIGHT_GRADIENT, inputs.size(1)):
        # Adding afterwards is faster than within this product.
        found = packed_linear(grads.t(), inputs.t(), None)
        return found if other is None else other.add_(found)
    if other is None:
        return torch.mm(grads.t(), inputs)
    return other.addmm_(grads.t(), inputs)


def packs(weight: Tensor, kind: str = STEP, inputs: int | None = None) -> bool:
    """Whether products with `weight` are to use oneDNN: where they can and no plan says otherwise.

    Args:
        weight: `(O, I)`.
        kind: of the products, see `compute.plan`.
        inputs: I, where it is not the weight's second size.
    """
    plan = plan_in_use()
    if not usable(weight) or plan is None:
        return usable(weight)
    return plan.chooses_onednn(kind, weight.size(0), inputs or weight.size(1))


@contextmanager
def packed_once() -> Iterator[None]:
    """Where several runs use the same parameters, each of these is packed by the first only.

    The parameters must not change within the context.
    """
    token = _packed_already.set({})
    try:
        yield
    finally:
        _packed_already.reset(token)


def _pack_once(weight: Tensor, transposed: bool) -> Tensor:
    """`pack(weight)` or `pack(weight.t())`; see `packed_once`."""
    known = _packed_already.get()
    # What is made for a single run, such as weights side by side, is found there but once.
    if known is None or not (weight.is_leaf and weight.requires_grad):
        return pack(weight.t() if transposed else weight)
    key = weight.data_ptr(), weight.shape, weight.stride(), transposed
    if key not in known:
        # The weight is kept too: while it lives, nothing else can have its address.
        known[key] = weight, pack(weight.t() if transposed else weight)
    return known[key][1]
