"""The mixtures of a run: from a position's states to the memory of each channel, and back.

Fan et al. 2020 (arXiv 2002.09402), section 3, for weights that are the same at every position;
`modules.mixture` has the equation of those that each position makes of its states.

Size legend: T target positions, B sentences, C model dimension, n states.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from .gemm import Projection, weight_gradient
from .gradients import GradientSums, Weights
from .tape import Slots, Tape

_softmax_backward = torch.ops.aten._softmax_backward_data.default


class MixtureRun(ABC):
    """What the kinds of mixtures share.

    Args:
        states: of the layers that are not left out, and the embedding, written by others.
        channels: numbers of those that are read.
        num_channels: of all.
    """

    def __init__(self, states: Sequence[Slots], channels: Sequence[int], num_channels: int):
        self.states, self.channels, self.num_channels = states, channels, num_channels

    def chosen(self, x: Tensor) -> Tensor:
        """The rows of the channels that are read, of a tensor with a row for each."""
        if len(self.channels) == len(x):
            return x
        # A list of numbers as the index would be copied from the host to the device.
        return torch.stack([x[number] for number in self.channels])

    def of_all_channels(self, grad: Tensor) -> Tensor:
        """The reverse: zeros for those that nobody reads."""
        if len(self.channels) == self.num_channels:
            return grad
        whole = grad.new_zeros(self.num_channels, *grad.shape[1:])
        for number, row in zip(self.channels, grad, strict=True):
            whole[number] = row
        return whole

    @abstractmethod
    def forward(self, t: int, out: Tensor) -> None:
        """Write the memories of position t to out `(channels, B, C)`."""

    @abstractmethod
    def start_backward(self, tape: Tape) -> None:
        """Make the buffers of the backward."""

    @abstractmethod
    def back(self, t: int, grad: Tensor, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients of the states `(B, C)`: those given (None: zero) and those of the memories.

        Args:
            t: the position.
            grad: of the memories, `(channels, B, C)`.
            grads: of the states, from elsewhere.
        """

    @abstractmethod
    def no_gradient(self, t: int) -> None:
        """The same where the memories have none."""

    @abstractmethod
    def add_gradients(self, chunk: range, grads: Tensor, sums: GradientSums) -> None:
        """Add those of the weights over a chunk.

        Args:
            chunk: the positions.
            grads: of the memories, `(len(chunk), channels, B, C)`.
            sums: where to.
        """


class SameMixture(MixtureRun):
    """Weights that are the same at every position.

    Args: as for `MixtureRun`, and
        weights: `probs` `(all channels, n)`.
    """

    def __init__(
        self, weights: Weights, states: Sequence[Slots], channels: Sequence[int], num_channels: int
    ):
        super().__init__(states, channels, num_channels)
        probs = weights["probs"].to(states[0].all.dtype)
        self.probs = [probs[number].unbind(0) for number in channels]

    def forward(self, t: int, out: Tensor) -> None:
        states = [x[t] for x in self.states]
        for memory, probs in zip(out, self.probs, strict=True):
            torch.mul(states[0], probs[0], out=memory)
            for weight, x in zip(probs[1:], states[1:], strict=True):
                memory.addcmul_(x, weight)

    def start_backward(self, tape: Tape) -> None:
        """Prepare nothing: the shares have no gradient."""

    def no_gradient(self, t: int) -> None:
        """Write nothing: the shares have no gradient."""

    def back(self, t: int, grad: Tensor, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        found = list(grads)
        for memory_grad, probs in zip(grad, self.probs, strict=True):
            found = [
                memory_grad * weight if x is None else torch.addcmul(x, memory_grad, weight)
                for weight, x in zip(probs, found, strict=True)
            ]
        return found

    def add_gradients(self, chunk: range, grads: Tensor, sums: GradientSums) -> None:
        if not sums.want("probs"):
            return
        states = [x.cut(chunk) for x in self.states]
        rows = [[torch.mul(channel, x).sum() for x in states] for channel in grads.unbind(1)]
        sums.add("probs", self.of_all_channels(torch.stack([torch.stack(row) for row in rows])))


class RoutedRun(MixtureRun):
    """Weights that each position makes of its states.

    Args: as for `MixtureRun`, and
        weights: `router` `(all channels, n, n * C)`, scaled; `offsets` `(all channels, n)`.
        numbers: `(n,)`, for each state that the weights are for, which of `states` it is.
        dtype: of products.
        tape: makes the buffers.
    """

    def __init__(
        self,
        weights: Weights,
        states: Sequence[Slots],
        channels: Sequence[int],
        num_channels: int,
        numbers: Sequence[int],
        dtype: torch.dtype,
        tape: Tape,
    ):
        super().__init__(states, channels, num_channels)
        self.numbers = numbers
        router, offsets = (self.chosen(weights[name]) for name in ("router", "offsets"))
        self._project = Projection(
            router.flatten(0, 1), offsets.flatten(), dtype, tape.num_steps, backward=tape.keep
        )
        self._rows, self._like = states[0].all.size(1), states[0].all
        self.probs = tape.slots(self._rows, len(channels), len(numbers), like=self._like)

    def forward(self, t: int, out: Tensor) -> None:
        joined, probs = self._joined(t), self.probs[t]
        scores = self._project(joined.flatten(1))
        probs.copy_(scores.view(probs.shape).softmax(-1, dtype=_exact(scores)))
        out.copy_(torch.bmm(probs, joined).transpose(0, 1))

    def _joined(self, t: int) -> Tensor:
        """All states of position t, `(B, n, C)`."""
        return torch.stack([self.states[number][t] for number in self.numbers], dim=1)

    def start_backward(self, tape: Tape) -> None:
        scores = len(self.channels) * len(self.numbers)
        self._scores_grads = tape.chunk_slots(self._rows, scores, like=self._like)

    def back(self, t: int, grad: Tensor, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        joined, probs, grad = self._joined(t), self.probs[t], grad.transpose(0, 1)
        probs_grad, exact = torch.bmm(grad, joined.transpose(1, 2)), _exact(probs)
        scores_grad = _softmax_backward(probs_grad.to(exact), probs.to(exact), -1, exact).flatten(1)
        self._scores_grads[t].copy_(scores_grad)
        through = self._project.back(scores_grad.to(self._project.weight.dtype))
        by_state = torch.bmm(probs.transpose(1, 2), grad) + through.view(joined.shape)
        found = list(grads)
        for number, x in zip(self.numbers, by_state.to(joined.dtype).unbind(1), strict=True):
            known = found[number]
            found[number] = x if known is None else known + x
        return found

    def no_gradient(self, t: int) -> None:
        self._scores_grads[t].zero_()

    def add_gradients(self, chunk: range, grads: Tensor, sums: GradientSums) -> None:
        if not sums.want("router", "offsets"):
            return
        # (len(chunk) * B, channels * n)
        scores = self._scores_grads.rows(chunk)
        shape = (len(self.channels), len(self.numbers))
        sums.add("offsets", self.of_all_channels(scores.sum(0).view(shape)))
        if sums.want("router"):
            joined = torch.cat([self.states[number].rows(chunk) for number in self.numbers], dim=1)
            router = weight_gradient(joined, scores).view(*shape, -1)
            sums.add("router", self.of_all_channels(router))


def _exact(x: Tensor) -> torch.dtype:
    """For the exponential, in which half precision overflows."""
    return torch.promote_types(x.dtype, torch.float32)
