"""What a decoder does with a target whose past is a bounded memory: Transformer-XL's and the
Compressive Transformer's; see `memory_steps`.

Padding on the left of a target is moved to its right for the layers, so that segments begin with
the sentence.

Size legend: B sentences, N rows (B * beam in a search), T target positions, C model dimension,
H heads, S source positions.
"""

from typing import Any

import torch
from torch import Tensor

from ..config import CompressiveOptions, SegmentOptions, flag
from ..modules.cache import DecodingState
from ..modules.compression import COMPRESSIONS, Compression
from ..modules.layer import LayerSizes
from ..modules.relative_positions import (
    LearnedRelativePositions,
    RelativePositions,
    SinusoidalPositions,
)
from ..modules.segment_attention import SegmentAttention, SegmentPass, fitting
from ..modules.segment_cache import SegmentCache
from ..modules.segment_layer import SegmentLayer, SegmentLayerOutput
from ..modules.segment_memory import LayerMemory, SegmentLengths, SegmentMemory
from .memory_steps import EncoderOutput, LayersOutput, MemorySteps


class SegmentSteps(MemorySteps):
    """A target processed in segments, each seeing a bounded memory of those before.

    Beyond the contract, `forward` takes three options, with or without which nothing is kept on the
    module: `memory`, a `SegmentMemory` of the text before (also at the start of a search);
    `keep_memory`, to find the memory after the target under "memory" beside the features, where
    each row's ends with its own last word; and `unrolled`, for gradients to go back through
    memories. The loss of the compression functions, if they have one, is
    under "compression_loss", a scalar.
    """

    options: SegmentOptions

    def why_not_fused(self) -> str | None:
        """What about its memories the fast generator's fused steps cannot do; None if nothing."""
        lengths = {self.lengths(layer) for layer in self.all_layers()}
        if any(of_layer.compressed > 0 for of_layer in lengths):
            return "a compressed memory has no fused form"
        return None if len(lengths) == 1 else "not all of its layers have a memory"

    def in_reach(self, memory: SegmentMemory | None) -> SegmentMemory | None:
        """What the first segment sees of the memory before the target; None for nothing."""
        if memory is None:
            return None
        layers = [
            fitting(of_layer, self.lengths(layer))
            for of_layer, layer in zip(memory.layers, self.all_layers(), strict=True)
        ]
        sizes = [of_layer.recent.size(1) + of_layer.compressed.size(1) for of_layer in layers]
        return SegmentMemory(layers) if any(sizes) else None

    def why_not_carried(self) -> str | None:
        """Why nothing of it can be carried from one sentence to the next; None if it can."""
        reach = max(self.options.reach(training) for training in (True, False))
        return None if reach > 0 else f"{flag('mem_len')} is 0"

    def lengths(self, layer: SegmentLayer) -> SegmentLengths:
        """Of a layer's segments and memories, in training or outside of it."""
        options, training = self.options, self.training
        if not layer.has_memory:
            return SegmentLengths(options.segment_len, 0)
        if not isinstance(options, CompressiveOptions):
            memory = options.memory(training)
            return SegmentLengths(options.segment_len, memory, same_length=options.same_length)
        return SegmentLengths(
            options.segment_len,
            options.memory(training),
            options.compressed(training),
            options.compression_rate,
            options.same_length,
        )

    def run_layers(
        self, x, source, padding_mask, align, memory=None, keep_memory=False, unrolled=False
    ):
        turned = None if padding_mask is None else turn_left(padding_mask)
        # (T, B, C) -> (B, T, C), the layout of the layers
        x = turn(x.transpose(0, 1), turned)
        num_words = None if padding_mask is None else (~padding_mask).sum(dim=1)
        dropout = self.layer_dropout_active()
        states, losses, memories, probs = [x], [], [], None
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

    def step_layers(self, x, state, padding, align):
        dropout = self.layer_dropout_active()
        states, probs = [x], None
        state.past.begin_step(padding)
        layers = zip(self.kept_layers(), state.past.layers, strict=True)
        for index, (layer, past) in enumerate(layers):
            if layer is not None:
                source = state.sources[index] if state.sources else None
                x, layer_probs = layer.forward_position(x, past, source, padding, dropout)
                probs = layer_probs if index == align else probs
            states.append(x)
        # (N, C) -> (1, N, C); (N, H, S) -> (H, N, 1, S)
        probs = None if probs is None else probs.transpose(0, 1).unsqueeze(2)
        return LayersOutput([state[None] for state in states], probs)

    def new_state(self, x, source, beam_size, memory=None):
        empty = LayerMemory.empty(x)
        before = [empty] * self.num_layers if memory is None else memory.layers
        layers = zip(self.all_layers(), before, strict=True)
        caches = [layer.new_cache(self.lengths(layer), past) for layer, past in layers]
        past = SegmentCache(caches, self.options.segment_len)
        return DecodingState(past, self.read_source(source), beam_size)


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


def segment_layer(sizes: LayerSizes, options: SegmentOptions) -> SegmentLayer:
    """A layer with these options.

    Raises:
        ValueError: where the sizes do not fit together.
    """
    attention = SegmentAttention(
        sizes.embed_dim,
        sizes.num_heads,
        positions(options, sizes.embed_dim, sizes.num_heads),
        compression(options, sizes.embed_dim),
        getattr(options, "compression_loss", "bptt"),
        dropout=sizes.dropout.attention,
    )
    return SegmentLayer(sizes, attention)


def without_memory(layer: SegmentLayer, has_memory: bool) -> None:
    """Say of a layer whether it has a memory, and take away what it then has no use for."""
    layer.has_memory = has_memory
    if not has_memory:
        layer.self_attn.remove_compression()


def positions(options: SegmentOptions, embed_dim: int, num_heads: int) -> RelativePositions:
    """How a layer counts distances."""
    if options.position_keys == "learned":
        return LearnedRelativePositions(embed_dim // num_heads, options.max_distance)
    return SinusoidalPositions(embed_dim, num_heads, options.clamp_len)


def compression(options: SegmentOptions, embed_dim: int) -> Compression | None:
    """A layer's compression function; None for Transformer-XL."""
    if not isinstance(options, CompressiveOptions):
        return None
    return COMPRESSIONS[options.compression](embed_dim, options.compression_rate)


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
