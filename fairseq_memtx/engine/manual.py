"""The recurrence with a hand-written backward: the engine for training.

The whole loop over positions is one autograd function. What does not depend on the recurrence is
computed before the loop (the first layer's queries; the source's keys and values come ready). The
loop forward writes what the backward needs into buffers with one entry for each position, memory
linear in T (probabilities as in any attention). The loop back propagates the gradient of
activations only, position by position; after every chunk of positions each weight's gradient
grows by one product over the chunk. Equal to `reference` up to rounding, for every option.

Limits: no second derivatives. A second backward through the same graph runs the forward again.

Size legend: T target positions, B sentences, C model dimension, H heads, S source positions, L
layers, of which `kept` are not left out by layer drop.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..modules.mixture import LayerMixture, RoutedMixture
from .gradients import Weights
from .interface import Recurrence, RecurrenceOutput, states_passed
from .stack_run import StackRun


class Run(Protocol):
    """A forward that can go back once; `StackRun` is one."""

    def backward(
        self, state_grads: Sequence[Tensor | None], probs_grad: Tensor | None, wanted: set[str], /
    ) -> Weights:
        """The gradients of the wanted weights, as far as anything read them."""


class Begin(Protocol):
    """Runs a recurrence forward, from its weights by name.

    Products are in `dtype`.

    Returns:
        A run that can go back (or None, if not `keep`), its kept + 1 states `(T, B, C)`, and the
        probabilities or None.
    """

    def __call__(
        self, r: Recurrence, weights: Weights, dtype: torch.dtype, keep: bool, /
    ) -> tuple[Run | None, list[Tensor], Tensor | None]: ...


def begin_loop(
    r: Recurrence, weights: Weights, dtype: torch.dtype, keep: bool
) -> tuple[Run, list[Tensor], Tensor | None]:
    """The loop, step by step; see `Begin`."""
    with no_autocast(r.inputs), torch.no_grad():
        stack = StackRun(r, weights, dtype, keep)
        return stack, *stack.forward()


def run_manual(r: Recurrence, begin: Begin = begin_loop) -> RecurrenceOutput:
    """Run the recurrence; where no gradient can be asked for, nothing is kept for one.

    Args:
        r: the recurrence.
        begin: runs the loop forward.
    """
    kept = [i for i, layer in enumerate(r.layers) if layer is not None]
    if not kept:
        return RecurrenceOutput([r.inputs] * (len(r.layers) + 1), None)
    numbers = states_passed(kept, len(r.layers))
    weights = dict(_weights(r, kept, numbers))
    if torch.is_grad_enabled() and any(x.requires_grad for x in weights.values()):
        names, tensors = zip(*weights.items(), strict=True)
        *states, probs = _Feedback.apply(r, begin, _compute_dtype(r), names, *tensors)
    else:
        _, states, probs = begin(r, weights, _compute_dtype(r), False)
    return RecurrenceOutput([states[number] for number in numbers], probs)


def _weights(r: Recurrence, kept: list[int], numbers: list[int]) -> Iterator[tuple[str, Tensor]]:
    """Everything that a gradient can be asked for, by name."""
    yield "inputs", r.inputs
    yield from _mixture_weights(r.memory.mixture, numbers)
    for name, parameter in r.memory.named_parameters():
        if not name.startswith("mixture."):
            yield f"memory.{name}", parameter
    if r.past is not None:
        yield "past.keys", r.past.keys
        yield "past.values", r.past.values
    for i in kept:
        layer = r.layers[i]
        assert layer is not None
        for name, parameter in layer.named_parameters():
            if r.sources or not name.startswith("encoder_attn"):
                yield f"layers.{i}.{name}", parameter
        if r.sources:
            yield f"sources.{i}.keys", r.sources[i].keys
            yield f"sources.{i}.values", r.sources[i].values


def _mixture_weights(mixture: LayerMixture, numbers: list[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(mixture, RoutedMixture):
        rows = mixture.channels, mixture.num_states
        yield "memory.offsets", mixture.weight.view(rows)
        yield "memory.router", mixture.scaled_router().unflatten(0, rows)
        return
    probs = mixture.by_channel()
    num_kept = max(numbers) + 1
    if num_kept < len(numbers):
        # A layer left out has its input's state: their shares of the mixture add up.
        # Numbers that come from the host make an accelerator wait: only where they are needed.
        index = torch.tensor(numbers, device=probs.device)
        probs = probs.new_zeros(len(probs), num_kept).index_add(1, index, probs)
    yield "memory.probs", probs


def _compute_dtype(r: Recurrence) -> torch.dtype:
    """Of products: autocast's, else that of the inputs.

    On a CPU autocast's is not worth it here: oneDNN makes a kernel anew for the small products of
    each number of rows and keys, which takes longer than the products in float32.
    """
    kind, given = r.inputs.device.type, r.inputs.dtype
    if not torch.is_autocast_enabled(kind):
        return given
    if kind == "cpu":
        return torch.promote_types(given, torch.float32)
    return torch.get_autocast_dtype(kind)


def no_autocast(x: Tensor) -> torch.autocast:
    """Dtypes are chosen by hand inside."""
    return torch.autocast(x.device.type, enabled=False)


class _Feedback(torch.autograd.Function):
    """From weights, inputs and sources to kept + 1 states `(T, B, C)` and probabilities or None."""

    @staticmethod
    def forward(ctx, r, begin, dtype, names, *tensors):
        ctx.r, ctx.dtype, ctx.names = r, dtype, names
        weights = dict(zip(names, tensors, strict=True))
        ctx.run, states, probs = begin(r, weights, dtype, True)
        ctx.set_materialize_grads(False)
        # Other objects than those the run holds: a cycle would keep all buffers alive.
        states = [x.detach() for x in states]
        # Autograd then notices a change in place between the forward and the backward.
        ctx.save_for_backward(*tensors, *states)
        return *states, probs

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        tensors = ctx.saved_tensors[: len(ctx.names)]
        # The backward overwrites what the forward kept: after retain_graph, run that again.
        run, ctx.run = ctx.run, None
        if run is None:
            weights = dict(zip(ctx.names, tensors, strict=True))
            run, _, _ = begin_loop(ctx.r, weights, ctx.dtype, True)
        *state_grads, probs_grad = grads
        wanted = {n for n, need in zip(ctx.names, ctx.needs_input_grad[4:], strict=True) if need}
        with no_autocast(tensors[0]):
            found = run.backward(state_grads, probs_grad, wanted)
        return (
            None,
            None,
            None,
            None,
            *(
                _or_zeros(found.get(name), x) if name in wanted else None
                for name, x in zip(ctx.names, tensors, strict=True)
            ),
        )


def _or_zeros(grad: Tensor | None, like: Tensor) -> Tensor:
    """A weight that nothing read has the gradient zero."""
    return torch.zeros_like(like) if grad is None else grad.view(like.shape)
