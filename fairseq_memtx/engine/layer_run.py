"""One decoder layer through a run: its sublayers, each with its residual sum and norm.

Size legend: T target positions, B sentences, C model dimension.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from .attention_sublayers import MemoryAttentionSteps, SourceAttentionSteps
from .gradients import GradientSums
from .sublayers import Residual, Sublayer
from .tape import Slots, Tape


class PlacedSublayer(NamedTuple):
    """A sublayer in its place.

    Attributes:
        norm_name: of its layer norm in the module.
        prefix: of its weights' names in the module.
        frame: residual sum and norm.
        function: what is inside.
    """

    norm_name: str
    prefix: str
    frame: Residual
    function: Sublayer


class LayerRun:
    """A layer's steps.

    Args:
        memory: attention to the memories.
        source: attention to the source, or None.
        ffn: the feed-forward network.
        frames: of these, in order, without None.
        states: the layer's inputs, written by others.
    """

    def __init__(
        self,
        memory: MemoryAttentionSteps,
        source: SourceAttentionSteps | None,
        ffn: Sublayer,
        frames: Sequence[Residual],
        states: Slots,
    ):
        self.memory, self.source, self.states = memory, source, states
        functions: tuple[tuple[str, str, Sublayer | None], ...] = (
            ("self_attn_layer_norm", "self_attn.", memory),
            ("encoder_attn_layer_norm", "encoder_attn.", source),
            ("final_layer_norm", "", ffn),
        )
        present = [(norm, prefix, f) for norm, prefix, f in functions if f is not None]
        self.parts = [
            PlacedSublayer(norm_name, prefix, frame, function)
            for (norm_name, prefix, function), frame in zip(present, frames, strict=True)
        ]

    def ask_all(self) -> None:
        """Write all queries to the memories at once: possible where all inputs are known."""
        self.memory.ask_all(self.parts[0].frame.enter(self.states.all))

    def forward(self, t: int, x: Tensor) -> Tensor:
        """The output `(B, C)` for the input x `(B, C)`."""
        for part in self.parts:
            entered = x if self._asked(part) else part.frame.enter(x)
            x = part.frame.leave(t, x, part.function.forward(t, entered))
        return x

    def start_backward(self, tape: Tape) -> None:
        """Make the buffers of the backward."""
        for part in self.parts:
            part.frame.norm.start_backward(tape)
            part.function.start_backward(tape)

    def start_chunk(self, chunk: range) -> None:
        """Prepare the steps back through a chunk of positions."""
        for part in self.parts:
            part.frame.norm.start_chunk(chunk)

    def back(self, t: int, grad: Tensor) -> Tensor:
        """The gradient of the input, `(B, C)`; without what `back_asked` gives."""
        for number in reversed(range(len(self.parts))):
            part = self.parts[number]
            function = part.function
            total = part.frame.back_leave(t, grad, function.last_grads[t])
            function.back(t)
            if self._asked(part):
                return total
            before = self.parts[number - 1].frame if number > 0 else None
            grad = part.frame.back_enter(t, function.first, function.first_grads[t], total, before)
        return grad

    def back_asked(self, chunk: range) -> Tensor:
        """The chunk's gradient of the inputs through the queries written by `ask_all`."""
        frame, memory = self.parts[0].frame, self.memory
        return frame.back_enter_chunk(chunk, memory.first, memory.first_grads)

    def add_gradients(self, chunk: range, sums: GradientSums) -> None:
        """Add those of the weights over a chunk, by their names in the module."""
        for part, entered in zip(self.parts, self._entered(chunk), strict=True):
            part.function.add_gradients(chunk, entered.flatten(0, 1), sums.under(part.prefix))
            part.frame.norm.add_gradients(sums.under(f"{part.norm_name}."))

    def _asked(self, part: PlacedSublayer) -> bool:
        return part.function is self.memory and self.memory.asked

    def _entered(self, chunk: range) -> list[Tensor]:
        """What each sublayer's function read, `(len(chunk), B, C)`."""
        frames = [part.frame for part in self.parts]
        if frames[0].pre_norm:
            return [frame.norm.outputs for frame in frames]
        return [self.states.cut(chunk), *(before.norm.outputs for before, _ in pairwise(frames))]
