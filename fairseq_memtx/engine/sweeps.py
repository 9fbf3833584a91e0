"""The recurrence as a fixed point: sweeps over all positions of a block at once. Approximate.

Position t reads the memories of the positions before it, which are made of those positions'
states. Instead of one after the other, all positions of a block are computed at once from the
memories that the sweep before left, beginning with a guess: the embedding in the place of every
state. Each sweep settles one position more, so that a block of n positions is exact after n sweeps,
in values and gradients, and close to that after far fewer. With one block for the whole target
these are Jacobi sweeps; with several, one after the other, block Gauss-Seidel ones. Descendants of
the Feedback Transformer train in this way: LCKV (Wu and Tu 2024, arXiv 2405.10637) with gradients
through the last sweeps alone.

A sweep costs about as much as a Transformer's pass and keeps as much for its backward: a price that
is worth paying where a loop over positions is bound by the launches of its many small operations.

Size legend: T target positions, B sentences, Q positions of a block, N = B * Q rows, C model
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
        sweeps: over each block; a block of n positions never needs more than n.
        block: Q, the positions of a block; 0 is the whole target.
        grads: sweeps over each block that the gradient goes through, the last ones; the memories
            that the first of these reads pass a gradient on to the memory's parameters and the
            embeddings, but to no earlier states of the block. 0 is all sweeps.
    """

    sweeps: int = 8
    block: int = 0
    grads: int = 0

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
        sweeps = min(self.sweeps, len(block))
        constant = sweeps - min(self.grads or sweeps, sweeps)
        x = _rows(r.inputs, block)
        masks = [_masks_of_rows(layer, block) for layer in r.masks]
        states: Sequence[Tensor] = [x] * (len(r.layers) + 1)
        past.begin(block)
        past.add_memory(*r.memory(states))
        with torch.no_grad():
            for _ in range(constant):
                states = feedback_step(r.layers, r.memory, x, past, r.sources, masks=masks).states
        if constant > 0:
            past.add_memory(*r.memory([x, *states[1:]]))
        for _ in range(sweeps - constant):
            step = feedback_step(r.layers, r.memory, x, past, r.sources, masks=masks)
        return step


def _rows(x: Tensor, block: range) -> Tensor:
    """A block's positions of `(T, B, ...)` as rows `(N, ...)`, those of a sentence side by side."""
    return x[block.start : block.stop].transpose(0, 1).flatten(0, 1)


def _masks_of_rows(masks: LayerMasks, block: range) -> LayerMasks:
    return LayerMasks(*(None if mask is None else _rows(mask, block) for mask in masks))


def _join(blocks: Sequence[Tensor], num_sentences: int) -> Tensor:
    """The rows `(N, ...)` of all blocks -> `(B, T, ...)`."""
    return torch.cat([x.unflatten(0, (num_sentences, -1)) for x in blocks], dim=1)
