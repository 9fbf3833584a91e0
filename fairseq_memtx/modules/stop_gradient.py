"""One projection, two uses: as a key of its own segment, and as a memory that stops gradients."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _ProjectTwice(torch.autograd.Function):
    """`linear(x)` and `linear(stop_gradient(x))` for the price of one product each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        out = F.linear(x, weight, bias)
        return out, out.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_stopped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad = grad.to(weight.dtype)
        # (..., C_out) -> (rows, C_out); both uses teach the projection, one its input
        both = (grad + grad_stopped.to(weight.dtype)).flatten(0, -2)
        grad_weight = both.t() @ x.to(weight.dtype).flatten(0, -2)
        return (grad @ weight).to(x.dtype), grad_weight, both.sum(dim=0)


def project_twice(linear: nn.Linear, x: Tensor) -> tuple[Tensor, Tensor]:
    """`linear(x)`, and the same values whose gradient reaches `linear` but not `x`."""
    if not torch.is_grad_enabled():
        out = linear(x)
        return out, out
    return _ProjectTwice.apply(x, linear.weight, linear.bias)
