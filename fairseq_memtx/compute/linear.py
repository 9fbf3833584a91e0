"""A linear map and its gradients, each product by the library that the plan in use has chosen.

Size legend: N rows, I inputs, O outputs of a linear map.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .onednn import packed_linear, usable
from .plan import FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, plain_linear, plan_in_use


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x W^T + b`, for the place of `torch.nn.functional.linear`; its arguments are that one's.

    Without a plan, in another dtype than float32, under autocast and elsewhere than on a CPU it is
    torch's own.
    """
    if not _by_plan(input, weight):
        return plain_linear(input, weight, bias)
    rows = input.reshape(-1, input.size(-1))
    return _Linear.apply(rows, weight, bias).view(*input.shape[:-1], weight.size(0))


def _by_plan(x: Tensor, weight: Tensor) -> bool:
    plan = plan_in_use()
    if plan is None or not (usable(x) and usable(weight)) or weight.dim() != 2 or x.numel() == 0:
        return False
    if torch.is_autocast_enabled("cpu"):
        return False
    kinds = [FORWARD]
    if torch.is_grad_enabled():
        kinds += [INPUT_GRADIENT, WEIGHT_GRADIENT]
    outputs, inputs = weight.shape
    return any(plan.chooses_onednn(kind, outputs, inputs) for kind in kinds)


def _chosen(kind: str, weight: Tensor) -> bool:
    plan = plan_in_use()
    return plan is not None and usable(weight) and plan.chooses_onednn(kind, *weight.shape[:2])


def forward(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x W^T + b` `(N, O)`; for use where no gradient is recorded, like the two below."""
    if _chosen(FORWARD, weight):
        return packed_linear(x, weight, bias)
    return plain_linear(x, weight, bias)


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the input `(N, I)` from that of the output `(N, O)`."""
    if _chosen(INPUT_GRADIENT, weight):
        return packed_linear(grad, weight.t(), None)
    return grad.mm(weight)


def weight_gradient(
    inputs: Tensor, grads: Tensor, weight: Tensor, other: Tensor | None = None
) -> Tensor:
    """The gradient of the weight `(O, I)`, to which `other` is added.

    Args:
        inputs: `(N, I)`.
        grads: of the outputs, `(N, O)`.
        weight: for its shape, dtype and device.
        other: `(O, I)` or None; may be overwritten.
    """
    if _chosen(WEIGHT_GRADIENT, weight):
        # Adding afterwards is faster than within this product.
        found = packed_linear(grads.t(), inputs.t(), None)
        return found if other is None else other.add_(found)
    return grads.t().mm(inputs) if other is None else other.addmm_(grads.t(), inputs)


class _Linear(torch.autograd.Function):
    """From x `(N, I)`, weight and bias to `(N, O)`."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return forward(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            input_gradient(grad, weight) if wants_x else None,
            weight_gradient(x, grad, weight) if wants_weight else None,
            grad.sum(0) if wants_bias else None,
        )
