"""The feed-forward network's activation, position by position.

Size legend: B sentences, F feed-forward dimension.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .tape import Tape

_threshold_backward = torch.ops.aten.threshold_backward.grad_input

RELUS = (F.relu, torch.relu, torch.relu_)


class Relu:
    """max(x, 0), then dropout. What it returns is all that its backward needs.

    Args:
        like: `(B, F)`, for the shape and dtype of the input.
        drop: dropout masks `(T, B, F)`, or None.
        tape: makes the buffers.

    Attributes:
        outputs: after dropout.
    """

    def __init__(self, like: Tensor, drop: Tensor | None, tape: Tape):
        self.drop = drop
        self.outputs = tape.slots(*like.shape, like=like)

    def __call__(self, t: int, x: Tensor) -> Tensor:
        """x `(B, F)`, kept by nobody else."""
        out = torch.clamp_min(x, 0, out=self.outputs[t])
        return out if self.drop is None else out.mul_(self.drop[t])

    def back(self, t: int, grad: Tensor, out: Tensor) -> None:
        """Write the gradient of the input; a dropped output is 0, and so is its gradient."""
        if self.drop is not None:
            grad = torch.mul(grad, self.drop[t]).to(grad.dtype)
        _threshold_backward(grad, self.outputs[t], 0, grad_input=out)


class AnyActivation:
    """An elementwise function of which nothing is known: autograd finds its derivative.

    Args: as for `Relu`, and function.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        like: Tensor,
        drop: Tensor | None,
        tape: Tape,
    ):
        self.function, self.drop = function, drop
        self.inputs, self.outputs = (tape.slots(*like.shape, like=like) for _ in range(2))

    def __call__(self, t: int, x: Tensor) -> Tensor:
        """The function of x `(B, F)` at position t, after dropout."""
        self.inputs[t].copy_(x)
        out = self.outputs[t].copy_(self.function(x))
        return out if self.drop is None else out.mul_(self.drop[t])

    def back(self, t: int, grad: Tensor, out: Tensor) -> None:
        """Write the gradient of the input."""
        if self.drop is not None:
            grad = torch.mul(grad, self.drop[t]).to(grad.dtype)
        x = self.inputs[t].detach().requires_grad_()
        with torch.enable_grad():
            y = self.function(x)
        out.copy_(torch.autograd.grad(y, x, grad)[0])


def activation_step(
    function: Callable[[Tensor], Tensor], like: Tensor, drop: Tensor | None, tape: Tape
) -> Relu | AnyActivation:
    """The steps of `function`."""
    if function in RELUS:
        return Relu(like, drop, tape)
    return AnyActivation(function, like, drop, tape)
