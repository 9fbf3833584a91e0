"""The frame of a decoder layer's sublayers, and the feed-forward one, position by position.

A sublayer knows its forward step, its backward step, which propagates the gradient of activations
only, and its weights' gradients, each one product over a chunk of positions.

Size legend: T target positions, B sentences, C model dimension, F feed-forward dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from .activation import activation_step
from .gemm import Projection
from .gradients import GradientSums, Weights
from .norm import Norm
from .tape import Slots, Tape


class Residual:
    """`x + drop(f(norm(x)))` with pre-norm, `norm(x + drop(f(x)))` with post-norm.

    Args:
        norm: the layer norm; its inputs are the entries of x with pre-norm, `sums` with post-norm.
        pre_norm: which of the two.
        drop: dropout masks `(T, B, C)`, or None.
        sums: where the sums are written.
    """

    def __init__(self, norm: Norm, pre_norm: bool, drop: Tensor | None, sums: Slots):
        self.norm, self.pre_norm, self.sums = norm, pre_norm, sums
        self.drop = None if drop is None else drop.unbind(0)

    def enter(self, x: Tensor) -> Tensor:
        """What the sublayer reads, `(B, C)`; all positions `(T, B, C)` can be given at once."""
        return self.norm(x) if self.pre_norm else x

    def leave(self, t: int, x: Tensor, y: Tensor) -> Tensor:
        """The output from the input x and the sublayer's result y, all `(B, C)`."""
        y = y.to(x.dtype)
        if self.drop is None:
            total = torch.add(x, y, out=self.sums[t])
        else:
            total = torch.addcmul(x, y, self.drop[t], out=self.sums[t])
        return total if self.pre_norm else self.norm(total)

    def back_leave(self, t: int, grad: Tensor, inner: Tensor) -> Tensor:
        """The gradient of the sum `(B, C)` from that of the output; y's is written to `inner`."""
        total = grad if self.pre_norm else self.norm.back(t, grad)
        if self.drop is None:
            inner.copy_(total)
        else:
            torch.mul(total, self.drop[t], out=inner)
        return total

    def back_enter(
        self, t: int, first: Projection, grad: Tensor, total: Tensor, before: "Residual | None"
    ) -> Tensor:
        """The gradient of x `(B, C)`, from those of `first`'s output and of the sum.

        `before` is the residual sum whose output is x, if that is one of the same layer.
        """
        if self.pre_norm:
            return self.norm.back(t, first.back_into(grad, self.norm.grads[t])).add_(total)
        return first.back_add(grad, total, None if before is None else before.norm.grads[t])

    def back_enter_chunk(self, chunk: range, first: Projection, grads: Slots) -> Tensor:
        """What reaches x through the sublayer, `(len(chunk), B, C)`, for a chunk at once."""
        sums = self.sums.cut(chunk)
        inner = first.back(grads.rows(chunk)).view(sums.shape).to(sums.dtype)
        return self.norm.back_chunk(inner) if self.pre_norm else inner


class Sublayer(ABC):
    """A function of `(B, C)` that begins and ends with a linear map.

    Args:
        weights: of the two maps, by name.
        tape: makes the buffers.
        like: for the dtype of products.

    Attributes:
        names: of the first and the last map in the module.
        first, last: the maps.
        last_inputs: what `last` reads.
        first_grads, last_grads: the gradients of the maps' outputs in the current chunk.
    """

    names: tuple[str, str]
    last_inputs: Slots

    def __init__(self, weights: Weights, tape: Tape, like: Tensor):
        self.first, self.last = (
            Projection(
                weights[f"{name}.weight"], weights[f"{name}.bias"], like.dtype, tape.num_steps,
                backward=tape.keep,
            )
            for name in self.names
        )  # fmt: skip

    @abstractmethod
    def forward(self, t: int, x: Tensor) -> Tensor:
        """The result `(B, C)` for x `(B, C)`."""

    @abstractmethod
    def back(self, t: int) -> None:
        """Fill `first_grads[t]` from `last_grads[t]`, the gradient of the result."""

    def start_backward(self, tape: Tape) -> None:
        """Make the buffers of the backward."""
        inputs = self.last_inputs.all
        rows, inner, outer = inputs.size(1), self.first.weight.size(0), self.last.weight.size(0)
        self.first_grads = tape.chunk_slots(rows, inner, like=inputs)
        self.last_grads = tape.chunk_slots(rows, outer, like=inputs)

    def add_gradients(self, chunk: range, entered: Tensor, sums: GradientSums) -> None:
        """Add those of the weights over a chunk; `entered` `(N, C)` is what `first` read."""
        first, last = self.names
        sums.add_linear(first, entered, self.first_grads.rows(chunk))
        sums.add_linear(last, self.last_inputs.rows(chunk), self.last_grads.rows(chunk))


class FeedForwardSteps(Sublayer):
    """Two maps with an activation between.

    Args: as for `Sublayer`, and
        rows: B.
        function: the activation.
        drop: dropout masks after it `(T, B, F)`, or None.
    """

    names = ("fc1", "fc2")

    def __init__(
        self,
        weights: Weights,
        tape: Tape,
        like: Tensor,
        rows: int,
        function: Callable[[Tensor], Tensor],
        drop: Tensor | None,
    ):
        super().__init__(weights, tape, like)
        inner = like.new_empty(rows, self.first.weight.size(0))
        self.activation = activation_step(function, inner, drop, tape)
        self.last_inputs = self.activation.outputs

    def forward(self, t: int, x: Tensor) -> Tensor:
        return self.last(self.activation(t, self.first(x)))

    def back(self, t: int) -> None:
        self.activation.back(t, self.last.back(self.last_grads[t]), self.first_grads[t])
