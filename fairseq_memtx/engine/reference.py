"""The plain loop over target positions: obviously right, and the oracle of every other engine."""

import torch

from ..modules.feedback import feedback_step
from ..modules.memory import MemoryTrace
from .interface import Recurrence, RecurrenceOutput


def run_reference(r: Recurrence) -> RecurrenceOutput:
    """Run `feedback_step` at positions 0 .. T - 1, autograd doing the rest.

    Time and activations are those of the step; the past is stacked anew at each position, so
    memory grows with T squared. Use it for tests and short targets.
    """
    past = MemoryTrace(r.memory, r.inputs[0], r.past)
    states, probs = [], []
    for t, x in enumerate(r.inputs):
        padding = None if r.padding_mask is None else r.padding_mask[:, t]
        masks = [layer_masks.at(t) for layer_masks in r.masks]
        step = feedback_step(r.layers, r.memory, x, past, r.sources, padding, masks)
        states.append(step.states)
        probs.append(None if r.probs_layer is None else step.cross_probs[r.probs_layer])
    # T lists of L + 1 states (B, C) -> L + 1 tensors (T, B, C)
    by_layer = [torch.stack(layer) for layer in zip(*states, strict=True)]
    # T tensors (B, H, S) -> (H, B, T, S)
    seen = [p for p in probs if p is not None]
    cross_probs = torch.stack(seen).permute(2, 1, 0, 3) if seen else None
    return RecurrenceOutput(by_layer, cross_probs)
