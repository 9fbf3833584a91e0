"""Layer norm position by position, with its parameters' gradients over many at once.

Size legend: T target positions, B sentences, C model dimension.
"""

import torch
from torch import Tensor

from .gradients import GradientSums
from .tape import Slots, Tape

_backward = torch.ops.aten.native_layer_norm_backward.default


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
        """x `(..., C)`, normalised."""
        return torch.layer_norm(x, self.shape, self.weight, self.bias, self.eps)

    def start_backward(self, tape: Tape) -> None:
        """Make the buffer of the backward."""
        self.grads = tape.chunk_slots(*self.inputs.all.shape[1:], like=self.inputs.all)

    def start_chunk(self, chunk: range) -> None:
        """Recompute a chunk's outputs and statistics: cheaper than to store them step by step."""
        inputs = self.inputs.cut(chunk)
        self.outputs, self._mean, self._rstd = torch.native_layer_norm(
            inputs, self.shape, self.weight, self.bias, self.eps
        )
        self._means, self._rstds = self._mean.unbind(0), self._rstd.unbind(0)
        self._chunk = chunk

    def back(self, t: int, grad: Tensor) -> Tensor:
        """The gradient of the input at position t from that of the output, both `(B, C)`.

        A gradient that is already in `grads[t]` need not be copied there.
        """
        if grad is not self.grads[t]:
            self.grads[t].copy_(grad)
        i = t - self._chunk.start
        return _backward(
            grad, self.inputs[t], self.shape, self._means[i], self._rstds[i],
            self.weight, self.bias, [True, False, False],
        )[0]  # fmt: skip

    def back_chunk(self, grads: Tensor) -> Tensor:
        """`back` for all positions of the chunk, `(len(chunk), B, C)`."""
        self.grads.cut(self._chunk).copy_(grads)
        return self._over_chunk([True, False, False])[0]

    def add_gradients(self, sums: GradientSums) -> None:
        """Add those of `weight` and `bias` over the chunk."""
        if sums.want("weight", "bias"):
            _, weight, bias = self._over_chunk([False, True, True])
            sums.add("weight", weight)
            sums.add("bias", bias)

    def _over_chunk(self, outputs: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
        inputs, grads = self.inputs.cut(self._chunk), self.grads.cut(self._chunk)
        return _backward(
            grads, inputs, self.shape, self._mean, self._rstd, self.weight, self.bias, outputs
        )
