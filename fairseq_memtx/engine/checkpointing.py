"""Activation checkpointing: the recurrence is run again for its backward, a piece at a time.

The forward runs pieces of consecutive positions one after the other and keeps nothing of them but
what later pieces need, the keys and values of their memories. The backward goes from the last piece
to the first: each is run again from the memories before it, so that the buffers of one piece are
all there is at a time. The price is a second forward; values and gradients are the same up to
rounding. Chen et al. 2016 (arXiv 1604.06174) do so over layers, here it is over positions, since
every layer needs the upper layers' states of all earlier positions.

Size legend: T target positions, P carried ones before them, t positions of a piece, B sentences, G
pairs of projections, C model dimension, H heads, D = C / H, S source positions, L layers, of which
kept are not left out by layer drop.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..modules.carried_memory import CarriedMemory, num_past
from ..modules.cross_attention import CrossMemory
from ..modules.dropout import LayerMasks, PackedMasks
from .gemm import packed_once
from .interface import Engine, Recurrence, RecurrenceOutput, states_passed
from .manual import no_autocast

# Positions; in shorter pieces the work to begin one is no longer small beside the piece's own.
MIN_PIECE = 8

MEMORY_NAMES = ("past.keys", "past.values")


@dataclass(frozen=True)
class Checkpointed:
    """The engine `inner`, run again for the backward; itself an engine.

    Attributes:
        inner: must read carried memories and teach them.
        masks: dropout masks for each layer in the place of the recurrence's own, which would take
            about as much memory as is saved; empty to use those after all.
    """

    inner: Engine
    masks: Sequence[PackedMasks] = ()

    def __call__(self, r: Recurrence) -> RecurrenceOutput:
        """Run the recurrence."""
        kept = [i for i, layer in enumerate(r.layers) if layer is not None]
        if not kept:
            return self.inner(r)
        pieces = Pieces(self.inner, r, self.masks or r.masks, kept, autocast_of(r.inputs))
        names, tensors = zip(*leaves(r).items(), strict=True)
        *states, probs = _Recomputed.apply(pieces, names, *tensors)
        states = [r.inputs, *states]
        numbers = states_passed(kept, len(r.layers))
        return RecurrenceOutput([states[number] for number in numbers], probs)


def piece_length(num_steps: int) -> int:
    """Positions of a piece: for long targets, piece and number of pieces grow alike."""
    return min(max(MIN_PIECE, math.isqrt(num_steps)), num_steps)


class PieceOutput(NamedTuple):
    """States of the layers kept, `(t, B, C)`, probabilities `(H, B, t, S)` or None, t memories."""

    states: list[Tensor]
    probs: Tensor | None
    memory: CarriedMemory


@dataclass(frozen=True)
class Pieces:
    """A recurrence as pieces that can be run one by one.

    Attributes:
        inner: see `Checkpointed`.
        r: the recurrence.
        masks: in place of its own.
        kept: numbers of the layers that are not left out.
        autocast: arguments of `torch.autocast`, for the backward to run what the forward ran.
    """

    inner: Engine
    r: Recurrence
    masks: Sequence[PackedMasks | LayerMasks]
    kept: Sequence[int]
    autocast: dict[str, Any]

    def ranges(self) -> Iterator[range]:
        """The positions of each piece, in order."""
        num_steps = len(self.r.inputs)
        size = piece_length(num_steps)
        return (range(a, min(a + size, num_steps)) for a in range(0, num_steps, size))

    def seen(self, piece: range) -> range:
        """The memories that the piece's first position sees, numbered with the carried ones."""
        end, span = num_past(self.r.past) + piece.start, self.r.memory.span
        return range(max(end - span, 0) if span > 0 else 0, end)

    def cut(self, piece: range, memory: CarriedMemory | None) -> Recurrence:
        """A piece as a recurrence; `memory` holds at least all memories before it."""
        seen, mask = self.seen(piece), self.r.padding_mask
        everything = range(seen.start, seen.stop + len(piece))
        return replace(
            self.r,
            inputs=self.r.inputs[piece.start : piece.stop],
            padding_mask=None if mask is None else mask[:, piece.start : piece.stop],
            masks=[masks.cut(piece, everything) for masks in self.masks],
            past=None if memory is None or not seen else entries(memory, seen),
        )

    def run_piece(self, part: Recurrence) -> PieceOutput:
        """Run a piece that was cut."""
        with torch.autocast(**self.autocast):
            states, probs = self.inner(part)
            with memory_precision(part.inputs):
                # (G, t, B, H, D) -> (G, B, H, t, D)
                keys, values = (x.permute(0, 2, 3, 1, 4) for x in self.r.memory(states))
        memory = CarriedMemory(keys, values, part.padding_mask)
        return PieceOutput([states[i + 1] for i in self.kept], probs, memory)


class _Recomputed(torch.autograd.Function):
    """From `leaves` to the states of the layers kept `(T, B, C)` and the probabilities or None."""

    @staticmethod
    def forward(ctx, pieces, names, *tensors):
        with packed_once():
            out = run_all(pieces)
        ctx.pieces, ctx.names, ctx.hidden = pieces, names, out.memory.hidden
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, out.memory.keys, out.memory.values)
        return *out.states, out.probs

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        *tensors, keys, values = ctx.saved_tensors
        back = Backward(ctx.pieces, CarriedMemory(keys, values, ctx.hidden), grads)
        with packed_once(), no_autocast(tensors[0]):
            for piece in reversed(list(ctx.pieces.ranges())):
                back.add(piece)
        found = back.gradients()
        return (
            None,
            None,
            *(
                (found[name] if name in found else torch.zeros_like(x)) if wanted else None
                for name, x, wanted in zip(
                    ctx.names, tensors, ctx.needs_input_grad[2:], strict=True
                )
            ),
        )


def run_all(pieces: Pieces) -> PieceOutput:
    """All pieces forward: the output of the whole, with its P + T memories."""
    memory, num_steps = pieces.r.past, len(pieces.r.inputs)
    states: list[Tensor] = []
    probs = []
    for piece in pieces.ranges():
        out = pieces.run_piece(pieces.cut(piece, memory))
        memory = out.memory if memory is None else memory.followed_by(out.memory)
        states = states or [x.new_empty((num_steps, *x.shape[1:])) for x in out.states]
        for whole, x in zip(states, out.states, strict=True):
            whole[piece.start : piece.stop] = x
        probs += [] if out.probs is None else [out.probs]
    # What autocast has cast here, where no graph is recorded, must not serve where one is.
    torch.clear_autocast_cache()
    assert memory is not None
    return PieceOutput(states, torch.cat(probs, dim=2) if probs else None, memory)


class Backward:
    """Sums of the gradients, while the pieces are run again from the last to the first.

    Args:
        pieces: the recurrence.
        memory: its P + T memories.
        grads: of the kept states and of the probabilities, None for zero.
    """

    def __init__(self, pieces: Pieces, memory: CarriedMemory, grads: Sequence[Tensor | None]):
        self.pieces, self.memory = pieces, memory
        *self.state_grads, self.probs_grad = grads
        self.inputs_grad = torch.zeros_like(pieces.r.inputs)
        # Every later piece adds to them: half precision would lose a part of many.
        exact = torch.promote_types(memory.keys.dtype, torch.float32)
        self.memory_grads = {
            name: torch.zeros_like(x, dtype=exact)
            for name, x in zip(MEMORY_NAMES, keys_and_values(memory), strict=True)
        }
        self.sums: dict[str, Tensor] = {}

    def add(self, piece: range) -> None:
        """Run a piece again and add its gradients."""
        part = detached(self.pieces.cut(piece, self.memory))
        with torch.enable_grad():
            outputs = self._outputs(piece, self.pieces.run_piece(part))
        found = gradients(outputs, leaves(part))
        seen = self.pieces.seen(piece)
        for name, grad in found.items():
            if name == "inputs":
                self.inputs_grad[piece.start : piece.stop] = grad
            elif name in self.memory_grads:
                of_positions(self.memory_grads[name], seen).add_(grad)
            else:
                self.sums[name] = grad if name not in self.sums else self.sums[name] + grad

    def _outputs(self, piece: range, out: PieceOutput) -> list[tuple[Tensor, Tensor]]:
        """The piece's outputs that have a gradient, with it."""
        here = slice(piece.start, piece.stop)
        pairs = [(x, g[here]) for x, g in zip(out.states, self.state_grads, strict=True)
                 if g is not None]  # fmt: skip
        if out.probs is not None and self.probs_grad is not None:
            pairs.append((out.probs, self.probs_grad[:, :, here]))
        if piece.stop < len(self.inputs_grad):  # nobody reads the last piece's memories
            first = self.pieces.seen(piece).stop
            new = range(first, first + len(piece))
            for x, total in zip(keys_and_values(out.memory), self.memory_grads, strict=True):
                pairs.append((x, of_positions(self.memory_grads[total], new).to(x.dtype)))
        return [(x, grad) for x, grad in pairs if x.requires_grad]

    def gradients(self) -> dict[str, Tensor]:
        """The gradients that were asked for, by the names of `leaves`."""
        carried = num_past(self.pieces.r.past)
        past = {name: of_positions(x, range(carried)) for name, x in self.memory_grads.items()}
        return {"inputs": self.inputs_grad, **past, **self.sums}


def leaves(r: Recurrence) -> dict[str, Tensor]:
    """All that a gradient can be asked for, by name."""
    named = {"inputs": r.inputs}
    if r.past is not None:
        named |= zip(MEMORY_NAMES, keys_and_values(r.past), strict=True)
    for i, source in enumerate(r.sources):
        if r.layers[i] is not None:
            named |= {f"sources.{i}.keys": source.keys, f"sources.{i}.values": source.values}
    for name, module in [
        ("memory", r.memory),
        *((f"layers.{i}", x) for i, x in enumerate(r.layers)),
    ]:
        if module is not None:
            named |= {f"{name}.{own}": parameter for own, parameter in module.named_parameters()}
    return named


def keys_and_values(memory: CarriedMemory) -> tuple[Tensor, Tensor]:
    """The tensors of a memory, each `(G, B, H, P, D)`."""
    return memory.keys, memory.values


def of_positions(x: Tensor, positions: range) -> Tensor:
    """Those of consecutive positions in keys or values, a view."""
    return x[:, :, :, positions.start : positions.stop]


def entries(memory: CarriedMemory, positions: range) -> CarriedMemory:
    """Consecutive memories of those given."""
    keys, values = (of_positions(x, positions) for x in keys_and_values(memory))
    hidden = memory.hidden
    if hidden is not None:
        hidden = hidden[:, positions.start : positions.stop]
    return CarriedMemory(keys, values, hidden)


def memory_precision(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """That in which the loop makes memories: on a CPU autocast is nothing for it."""
    return no_autocast(x) if x.device.type == "cpu" else contextlib.nullcontext()


def autocast_of(x: Tensor) -> dict[str, Any]:
    """The state of autocast, as arguments of `torch.autocast`."""
    kind = x.device.type
    dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
    return {"device_type": kind, "dtype": dtype, "enabled": enabled}


def detached(r: Recurrence) -> Recurrence:
    """The recurrence with inputs, past and sources as leaves of a graph of its own."""

    def leaf(x: Tensor) -> Tensor:
        return x.detach().requires_grad_()

    past = r.past
    if past is not None:
        past = replace(past, keys=leaf(past.keys), values=leaf(past.values))
    sources = [CrossMemory(leaf(x.keys), leaf(x.values), x.padding_mask) for x in r.sources]
    return replace(r, inputs=leaf(r.inputs), past=past, sources=sources)


def gradients(
    outputs: Sequence[tuple[Tensor, Tensor]], wanted: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Of what the outputs depend on, by name."""
    wanted = {name: x for name, x in wanted.items() if x.requires_grad}
    if not outputs:
        return {}
    values, grads = zip(*outputs, strict=True)
    found = torch.autograd.grad(values, list(wanted.values()), grads, allow_unused=True)
    return {name: g for name, g in zip(wanted, found, strict=True) if g is not None}
