"""Layer norm position by position, with its parameters' gradients taken over all positions at once.

Size legend: T target positions, B sentences, C model dimension.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .tape import Slots, Tape


class Norm:
    """Layer norm of `(B, C)` at every step.

    Args:
        weight, bias: `(C,)`.
        eps: added to the variance.
        inputs: what the norm is applied to, position by position.
    """

    def __init__(self, weight: Tensor, bias: Tensor, eps: float, inputs: Slots):
        self.weight, self.bias, self.eps, self.inputs = weight, bias, eps, inputs
        self.shape = tuple(weight.shape)

    def __call__(self, x: Tensor) -> Tensor:
        """x `(..., C)`."""
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)

    def start_backward(self, tape: Tape) -> None:
        """Recompute all outputs and statistics: cheaper than to store them step by step."""
        everything = torch.native_layer_norm(
            self.inputs.all, self.shape, self.weight, self.bias, self.eps
        )
        self.outputs, self._mean, self._rstd = everything
        self._means, self._rstds = self._mean.unbind(0), self._rstd.unbind(0)
        self.grads = tape.slots(*self.inputs.all.shape[1:], like=self.inputs.all)

    def back(self, t: int, grad: Tensor) -> Tensor:
        """The gradient of the input at position t from that of the output, both `(B, C)`."""
        self.grads[t].copy_(grad)
        return torch.ops.aten.native_layer_norm_backward(
            grad, self.inputs[t], self.shape, self._means[t], self._rstds[t],
            self.weight, self.bias, [True, False, False],
        )[0]  # fmt: skip

    def back_all(self, grads: Tensor) -> Tensor:
        """`back` for all positions, `(T, B, C)`."""
        self.grads.all.copy_(grads)
        return self._over_all([True, False, False])[0]

    def gradients(self) -> dict[str, Tensor]:
        """Of `weight` and `bias`."""
        _, weight, bias = self._over_all([False, True, True])
        return {"weight": weight, "bias": bias}

    def _over_all(self, outputs: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ops.aten.native_layer_norm_backward(
            self.grads.all, self.inputs.all, self.shape, self._mean, self._rstd,
            self.weight, self.bias, outputs,
        )  # fmt: skip
