"""The recurrence as a fixed point: sweeps over all positions of a block at once. Approximate.

Position t reads the memories of the positions before it, which are made of those positions'
states. Instead of one after the other, all positions of a block are computed at once from the
memories that the sweep before left, beginning with a guess: the embedding in the place of every
state. Each sweep settles one position more, so that a block of n positions is exact after n sweeps,
in values and gradients, and close to that after far fewer. With one block for the whole target
these are Jacobi sweeps; with several, one after the other, block Gauss-Seidel ones. Descendants of
the Feedback Transformer train in this way: LCKV (Wu and Tu 2024, arXiv 2405.10637) with gradients
through the last sweeps alone.

A sweep may also take the positions of a block in g strided groups, t modulo g, one after the other,
each reading what the groups before it have just made (cyclic Gauss-Seidel, WhiteMatter, Zhang and
Ren 2026). It then settles g positions: a block of n is exact after n / g sweeps.

A sweep costs about as much as a Transformer's pass and keeps as much for its backward: a price that
is worth paying where a loop over positions is bound by the launches of its many small operations.

Size legend: T target positions, B sentences, Q positions that run at once, N = B * Q rows, C model
dimension, H heads, S source positions, L layers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..modules.dropout import LayerMasks
from ..modules.feedback import StepOutput, feedback_step
from .block_memory import BlockPast
from .interface import Recurrence, RecurrenceOutput


@dataclass(frozen=True)
class Sweeps:
    """The engine.

    Attributes:
        sweeps: over each block; a block of n positions never needs more than n, of g groups n / g.
        block: the positions of a block; 0 is the whole target.
        grads: sweeps over each block that the gradient goes through, the last ones; the memories
            that the first of these reads pass a gradient on to the memory's parameters and the
            embeddings, but to no earlier states of the block. 0 is all sweeps.
        groups: g, into which a sweep takes a block's positions apart.
    """

    sweeps: int = 8
    block: int = 0
    grads: int = 0
    groups: int = 1

    def __call__(self, r: Recurrence) -> RecurrenceOutput:
        """Run the recurrence; a gradient needs memory in proportion to the sweeps it goes
        through.
        """
        past = BlockPast(r)
        steps = [self._run_block(r, past, block) for block in self._blocks(len(r.inputs))]
        states, num_sentences = [r.inputs], r.inputs.size(1)
        for parts in zip(*(step.states[1:] for step in steps), strict=True):
            # Q-long parts (N, C) -> (B, T, C) -> (T, B, C)
            states.append(_join(parts, num_sentences).transpose(0, 1))
        if r.probs_layer is None:
            return RecurrenceOutput(states, None)
        probs = [x for step in steps if (x := step.cross_probs[r.probs_layer]) is not None]
        # Q-long parts (N, H, S) -> (B, T, H, S) -> (H, B, T, S)
        seen = _join(probs, num_sentences).permute(2, 0, 1, 3) if probs else None
        return RecurrenceOutput(states, seen)

    def _blocks(self, num_steps: int) -> Iterator[range]:
        size = self.block or num_steps
        for start in range(0, num_steps, size):
            yield range(start, min(start + size, num_steps))

    def _run_block(self, r: Recurrence, past: BlockPast, block: range) -> StepOutput:
        """Sweep over a block; what the last sweep makes of its rows."""
        groups = [block[first :: self.groups] for first in range(min(self.groups, len(block)))]
        sweeps = min(self.sweeps, -(-len(block) // len(groups)))
        constant = sweeps - min(self.grads or sweeps, sweeps)
        parts = [_Part(r, group) for group in groups]
        x = _rows(r.inputs, block)
        past.begin(block)
        past.add_memory(*r.memory([x] * (len(r.layers) + 1)))
        with torch.no_grad():
            for _ in range(constant):
                steps = [part.run(r, past) for part in parts]
        if constant > 0:
            states = _in_order(steps, groups, r.inputs.size(1)).states
            past.turn_to(block)
            past.add_memory(*r.memory([x, *states[1:]]))
        for _ in range(sweeps - constant):
            steps = [part.run(r, past) for part in parts]
        return _in_order(steps, groups, r.inputs.size(1))


class _Part:
    """The positions of a group: their embeddings and dropout masks, as rows."""

    def __init__(self, r: Recurrence, group: range):
        self.group, self.x = group, _rows(r.inputs, group)
        self.masks = [_masks_of_rows(layer, group) for layer in r.masks]

    def run(self, r: Recurrence, past: BlockPast) -> StepOutput:
        """Run them at once; their memories are then those of the past."""
        past.turn_to(self.group)
        return feedback_step(r.layers, r.memory, self.x, past, r.sources, masks=self.masks)


def _in_order(steps: Sequence[StepOutput], groups: Sequence[range], batch: int) -> StepOutput:
    """The rows of all groups in the order of their positions."""
    if len(steps) == 1:
        return steps[0]
    positions = [position for group in groups for position in group]
    places = torch.tensor(positions, device=steps[0].states[0].device).argsort()

    def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        return _join(given, batch)[:, places].flatten(0, 1) if given else None

    states, probs = (
        [joined(parts) for parts in zip(*found, strict=True)]
        for found in ([step.states for step in steps], [step.cross_probs for step in steps])
    )
    return StepOutput([state for state in states if state is not None], probs)


def _rows(x: Tensor, block: range) -> Tensor:
    """A block's positions of `(T, B, ...)` as rows `(N, ...)`, those of a sentence side by side."""
    return x[block.start : block.stop : block.step].transpose(0, 1).flatten(0, 1)


def _masks_of_rows(masks: LayerMasks, block: range) -> LayerMasks:
    return LayerMasks(*(None if mask is None else _rows(mask, block) for mask in masks))


def _join(blocks: Sequence[Tensor], num_sentences: int) -> Tensor:
    """The rows `(N, ...)` of all blocks -> `(B, T, ...)`."""
    return torch.cat([x.unflatten(0, (num_sentences, -1)) for x in blocks], dim=1)
