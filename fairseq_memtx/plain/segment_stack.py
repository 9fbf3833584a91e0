"""Layers that read a bounded memory, over a whole text: a decoder's over a target, or an encoder's
over a source.

Padding on the left of a text is moved to its right for the layers, so that segments begin with the
sentence and a memory ends just before it.

Size legend: B sentences, T positions, C model dimension, H heads, S source positions.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from ..modules.segment_attention import SegmentPass
from ..modules.segment_layer import SegmentLayer, SegmentLayerOutput
from ..modules.segment_memory import LayerMemory, SegmentLengths, SegmentMemory
from .layered import Layered
from .memory_steps import EncoderOutput, LayersOutput


class SegmentStack(Layered):
    """Layers of the kind `SegmentLayer`, one upon the other."""

    layer_dropout_active: Any

    @abstractmethod
    def lengths(self, layer: SegmentLayer) -> SegmentLengths:
        """Of a layer's segments and memories, in training or outside of it."""

    def run_layers(
        self,
        x: Tensor,
        source: EncoderOutput | None,
        padding_mask: Tensor | None,
        align: int | None,
        memory: SegmentMemory | None = None,
        keep_memory: bool = False,
        unrolled: bool = False,
    ) -> LayersOutput:
        """All positions x `(T, B, C)` with a padding_mask `(B, T)` or None.

        `source` is what cross-attention reads and `align` the layer whose probabilities are wanted,
        both None for layers without. `memory` is of the text before; with `keep_memory` the one
        after it, each row's ending with its last word, is in `extra`; with `unrolled` gradients go
        back through memories.
        """
        turned = None if padding_mask is None else turn_left(padding_mask)
        # (T, B, C) -> (B, T, C), the layout of the layers
        x = turn(x.transpose(0, 1), turned)
        num_words = None if padding_mask is None else (~padding_mask).sum(dim=1)
        dropout = self.layer_dropout_active()
        states, losses, probs = [x], [], None
        memories: list[Any] = []
        for index, layer in enumerate(self.kept_layers()):
            before = None if memory is None else memory.layers[index]
            if layer is None:
                memories.append(LayerMemory.empty(x) if before is None else before)
                states.append(x)
                continue
            how = SegmentPass(self.lengths(layer), num_words, keep_memory, dropout, unrolled)
            out = self.run_layer(layer, x, how, source, before, dropout)
            x = out.x
            states.append(x)
            memories.append(out.memory)
            losses += [] if out.loss is None else [out.loss]
            probs = out.cross_probs if index == align else probs
        states[-1] = self.touch_all(states[-1])
        extra: dict[str, Any] = {"memory": SegmentMemory(memories)} if keep_memory else {}
        if losses:
            extra["compression_loss"] = torch.stack(losses).sum()
        # (B, T, C) -> (T, B, C); (B, T, H, S) -> (H, B, T, S)
        states = [turn_back(state, turned).transpose(0, 1) for state in states]
        probs = None if probs is None else turn_back(probs, turned).permute(2, 0, 1, 3)
        return LayersOutput(states, probs, extra)

    def run_layer(self, layer: SegmentLayer, *args: Any) -> SegmentLayerOutput:
        """A layer; how it is run for its backward is a matter of the training."""
        return whole_layer(layer, *args)

    def touch_all(self, x: Tensor) -> Tensor:
        """x; a training adds what its gradients want."""
        return x


def whole_layer(
    layer: SegmentLayer,
    x: Tensor,
    how: SegmentPass,
    source: EncoderOutput | None,
    memory: LayerMemory | None,
    dropout: bool,
) -> SegmentLayerOutput:
    """`SegmentLayer.forward` from the source itself, not from its keys and values."""
    attention = layer.encoder_attn
    if attention is None or source is None:
        return layer(x, how, None, memory, dropout)
    return layer(x, how, attention.read_source(*source), memory, dropout)


def turn_left(padding_mask: Tensor) -> Tensor | None:
    """How far each row must be turned for its padding `(B, T)` to stand right; None if it does."""
    left = padding_mask.cumprod(dim=1).sum(dim=1)
    return left if bool((left > 0).any()) else None


def turn(x: Tensor, by: Tensor | None) -> Tensor:
    """Turn the rows of x `(B, T, ...)` left `by` `(B,)` positions, the first becoming the last."""
    if by is None:
        return x
    place = torch.arange(x.size(1), device=x.device) + by[:, None]
    index = (place % x.size(1)).view(*x.shape[:2], *[1] * (x.dim() - 2)).expand_as(x)
    return x.gather(1, index)


def turn_back(x: Tensor, by: Tensor | None) -> Tensor:
    """x `(B, T, ...)` before `turn` by the same `by`."""
    return x if by is None else turn(x, -by)
