"""The loops of one form of batch, recorded once and replayed on the data of others.

Size legend: T target positions, B sentences, S source positions, C model dimension, H heads, layers
kept, those that are not left out.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..gradients import Weights
from ..manual import begin_loop
from ..stack_run import StackRun
from ..tape import Make
from .rounded_sizes import Batch, axes, cut, fill

Work = Callable[[], object]
# Which outputs have a gradient: states by their number less kept + 1, the probabilities as 0.
Outputs = frozenset[int]
LAST_STATE, PROBS = -1, 0


class Recorder(Protocol):
    """Records what operations do to tensors, to do it again without running the Python code."""

    def rehearse(self, work: Work) -> None:
        """Do the work once, so that nothing is left to be set up while it is recorded."""

    def record(self, work: Work) -> Work:
        """Record the work, done or not; what is returned does it again, on the same tensors."""

    def has_room(self) -> bool:
        """Whether the device has memory to spare for another recording."""


class FixedRun:
    """A run on tensors that stay where they are, the work to be recorded.

    Args:
        batch: the form and the first data.
        outputs: that will have a gradient.
        make: makes the tensors.

    Attributes:
        inputs: the data by name, in rounded sizes.
        states, probs: written by `forward`; `(T, B, C)` and `(H, B, T, S)` or None.
        state_grads, probs_grad: their gradients, read by `backward`; None for no gradient.
        grads: of the wanted weights that anything reads, written by `backward`.
    """

    def __init__(self, batch: Batch, outputs: Outputs, make: Make):
        self._batch, self._outputs, self._make = batch, outputs, make
        self.inputs = {n: make(batch.shape(n, x), x) for n, x in batch.moving.items()}
        for name, x in batch.moving.items():
            fill(self.inputs[name], x, axes(name))
        self.state_grads: list[Tensor | None] = []
        self.probs_grad: Tensor | None = None
        self.grads: Weights = {}

    def forward(self) -> None:
        """Run forward, beginning with what is made of the weights: they may have changed."""
        batch = self._batch
        recurrence, self._weights = batch.on(self.inputs)
        self._stack = StackRun(recurrence, self._weights, batch.dtype, batch.keep, self._make)
        self.states, probs = self._stack.forward()
        self.probs = None if probs is None else self._hold(probs)
        if batch.keep:
            self._make_output_grads()

    def backward(self) -> None:
        """Run back from the gradients of the states and of the attention to those of the inputs."""
        found = self._stack.backward(self.state_grads, self.probs_grad, self._batch.wanted)
        self.grads = {
            name: self._hold(grad.view(self._weights[name].shape), self._weights[name])
            for name, grad in found.items()
        }

    def all(self) -> None:
        """Forward and, where one may follow, backward."""
        self.forward()
        if self._batch.keep:
            self.backward()

    def _make_output_grads(self) -> None:
        numbers = range(-len(self.states), 0)
        self.state_grads = [
            self._make(tuple(x.shape), x) if number in self._outputs else None
            for number, x in zip(numbers, self.states, strict=True)
        ]
        if self.probs is not None and PROBS in self._outputs:
            self.probs_grad = self._make(tuple(self.probs.shape), self.probs)

    def _hold(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        like = x if like is None else like
        return self._make(tuple(like.shape), like).copy_(x)


class Recording:
    """A recorded run.

    Args:
        batch: the form and the first data.
        outputs: that have a gradient.
        recorder: records.
        make: makes the tensors; others may use their memory while no replay is under way.

    Attributes:
        outputs: as above.
    """

    def __init__(self, batch: Batch, outputs: Outputs, recorder: Recorder, make: Make):
        self.outputs = outputs
        run = FixedRun(batch, outputs, make)
        self._replay_forward = recorder.record(run.forward)
        self._replay_backward = recorder.record(run.backward) if batch.keep else None
        # Only what is written and read from outside is held: the rest of the run's memory is
        # the recorder's to give away.
        self._inputs, self._states, self._probs = run.inputs, run.states, run.probs
        self._state_grads, self._probs_grad, self._grads = (
            run.state_grads, run.probs_grad, run.grads,
        )  # fmt: skip

    def forward(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """The states and the probabilities of a batch of the same form."""
        for name, x in batch.moving.items():
            fill(self._inputs[name], x, axes(name))
        self._replay_forward()
        inputs = batch.weights["inputs"].detach()
        states = copies([cut(x, inputs.shape) for x in self._states[1:]])
        if self._probs is None:
            return [inputs, *states], None
        size = (len(self._probs), *(batch.sizes[axis] for axis in "BTS"))
        return [inputs, *states], cut(self._probs, torch.Size(size)).clone()

    def backward(
        self, batch: Batch, state_grads: Sequence[Tensor | None], probs_grad: Tensor | None
    ) -> Weights:
        """The gradients of the weights, after `forward` of the same batch and of no other."""
        assert self._replay_backward is not None
        for fixed, given in zip(self._state_grads, state_grads, strict=True):
            _fill_or_zero(fixed, given)
        _fill_or_zero(self._probs_grad, probs_grad)
        self._replay_backward()
        names = list(self._grads)
        found = copies([cut(self._grads[n], batch.weights[n].shape) for n in names])
        return dict(zip(names, found, strict=True))


class ReplayedRun:
    """A replayed forward that can go back, once, as long as nothing else is replayed.

    Args:
        recording: that was replayed.
        batch: on what.
        missed: told of a gradient that the recording does not expect.
    """

    def __init__(self, recording: Recording, batch: Batch, missed: Callable[[Outputs], None]):
        self._recording, self._batch, self._missed = recording, batch, missed

    def backward(
        self, state_grads: Sequence[Tensor | None], probs_grad: Tensor | None, wanted: set[str]
    ) -> Weights:
        """See `StackRun.backward`; a gradient that was not expected takes the loops once more."""
        outputs = given_outputs(state_grads, probs_grad)
        if outputs <= self._recording.outputs:
            return self._recording.backward(self._batch, state_grads, probs_grad)
        self._missed(outputs)
        batch = self._batch
        run, _, _ = begin_loop(batch.r, batch.weights, batch.dtype, True)
        return run.backward(state_grads, probs_grad, wanted)


def given_outputs(state_grads: Sequence[Tensor | None], probs_grad: Tensor | None) -> Outputs:
    """Which outputs have a gradient."""
    numbers = range(-len(state_grads), 0)
    given = {n for n, x in zip(numbers, state_grads, strict=True) if x is not None}
    return frozenset(given if probs_grad is None else given | {PROBS})


def copies(tensors: list[Tensor]) -> list[Tensor]:
    """Contiguous copies, made by few kernels."""
    made = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in tensors]
    if made:
        torch._foreach_copy_(made, tensors)
    return made


def _fill_or_zero(fixed: Tensor | None, given: Tensor | None) -> None:
    if fixed is not None and given is not None:
        fill(fixed, given)
    elif fixed is not None:
        fixed.zero_()
