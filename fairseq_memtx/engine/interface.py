"""What every engine takes and returns.

Size legend: T target positions, B sentences, C model dimension, H heads, S source positions, L
layers, P positions before the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from torch import Tensor

from ..modules.carried_memory import CarriedMemory
from ..modules.cross_attention import CrossMemory
from ..modules.dropout import LayerMasks
from ..modules.layer import FeedbackLayer
from ..modules.memory import FeedbackMemory


@dataclass(frozen=True)
class Recurrence:
    """A Feedback stack and the whole target to run it over.

    Attributes:
        layers: L layers; None where layer drop leaves one out.
        memory: the memory's parameters.
        inputs: `(T, B, C)`, embeddings of the target positions, after dropout.
        sources: keys and values of the source for each layer, or empty without cross-attention.
        padding_mask: `(B, T)`, True at target padding, or None where there is none.
        masks: dropout masks for each layer, or empty for no dropout; those of the memory's
            probabilities count the P carried memories first.
        past: memories of P positions before the target, or None.
        probs_layer: the layer whose cross-attention probabilities are returned, or None.
    """

    layers: Sequence[FeedbackLayer | None]
    memory: FeedbackMemory
    inputs: Tensor
    sources: Sequence[CrossMemory] = field(default_factory=list)
    padding_mask: Tensor | None = None
    masks: Sequence[LayerMasks] = field(default_factory=list)
    probs_layer: int | None = None
    past: CarriedMemory | None = None


def states_passed(kept: Sequence[int], num_layers: int) -> list[int]:
    """For each of the L + 1 states its number among those of the embedding and the layers kept.

    A layer that is left out passes its input on.
    """
    return [sum(i < number for i in kept) for number in range(num_layers + 1)]


class RecurrenceOutput(NamedTuple):
    """States of all layers and the chosen layer's cross-attention.

    Attributes:
        states: L + 1 tensors `(T, B, C)`: the inputs, then each layer's output before the final
            norm.
        cross_probs: `(H, B, T, S)`, or None.
    """

    states: list[Tensor]
    cross_probs: Tensor | None


class Engine(Protocol):
    """Runs a recurrence; differentiable in the parameters, the inputs and the sources."""

    def __call__(self, recurrence: Recurrence, /) -> RecurrenceOutput: ...
