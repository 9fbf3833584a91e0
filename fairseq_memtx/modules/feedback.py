"""One step of the Feedback decoder: a position through all layers, then into the memory.

Fan et al. 2020 (arXiv 2002.09402), section 3. A search with the decoder's own state runs this step,
and so do the engines `reference` and `parallel`. By default a training runs the engine `manual` and
the fast generator its fused steps: the same sums written again, which tests hold to this step.

Size legend: N rows, C model dimension, H heads, S source positions, L layers.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .cross_attention import CrossMemory
from .dropout import NO_MASKS, LayerMasks
from .layer import FeedbackLayer
from .memory import FeedbackMemory, PastMemories, View


class StepOutput(NamedTuple):
    """States x^0 .. x^L, each `(N, C)`, and each layer's cross-attention `(N, H, S)` or None."""

    states: list[Tensor]
    cross_probs: list[Tensor | None]


def feedback_step(
    layers: Sequence[FeedbackLayer | None],
    memory: FeedbackMemory,
    x: Tensor,
    past: PastMemories,
    sources: Sequence[CrossMemory],
    padding: Tensor | None = None,
    masks: Sequence[LayerMasks] = (),
) -> StepOutput:
    """Run one position and append its memory to `past`; or a block's positions, see `engine`.

    Args:
        layers: L layers; None stands for a layer that layer drop leaves out: its state passes
            unchanged and still counts in the mixture, whose weights number the original layers.
        memory: the memory's parameters.
        x: `(N, C)`, the position's embedding; for a block, the positions of a sentence are
            consecutive rows.
        past: the memories of strictly earlier positions; this position's is added at the end.
        sources: one for each layer, or empty without cross-attention.
        padding: `(N,)`, True where this position is a padding symbol; its memory is then never
            read.
        masks: one for each layer, or empty for no dropout.
    """
    num_past, views = len(past), past.views()
    states, cross_probs = [x], []
    for index, layer in enumerate(layers):
        probs = None
        if layer is not None:
            view = views[memory.wiring.layers[index]]
            source = sources[index] if sources else None
            layer_masks = _in_view(masks[index], num_past, view) if masks else NO_MASKS
            x, probs = layer(x, view, source, layer_masks)
        states.append(x)
        cross_probs.append(probs)
    keys, values = memory(states)
    past.add_memory(keys, values, padding)
    return StepOutput(states, cross_probs)


def _in_view(masks: LayerMasks, num_past: int, view: View) -> LayerMasks:
    """Cut the mask of the memory's probabilities, which covers all entries, to those in view."""
    if masks.memory_probs is None:
        return masks
    first = num_past - view.keys.size(-2)
    return masks._replace(memory_probs=masks.memory_probs[..., first:num_past])
