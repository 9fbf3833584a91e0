"""What a decoder does with a target whose past is a bounded memory: Transformer-XL's and the
Compressive Transformer's; see `memory_steps` and `segment_stack`.

Size legend: B sentences, N rows (B * beam in a search), T target positions, C model dimension,
H heads, S source positions.
"""

from ..config import CompressiveOptions, SegmentOptions, flag
from ..modules.cache import DecodingState
from ..modules.compression import COMPRESSIONS, Compression
from ..modules.layer import LayerSizes
from ..modules.relative_positions import (
    LearnedRelativePositions,
    RelativePositions,
    SinusoidalPositions,
)
from ..modules.segment_attention import SegmentAttention, fitting
from ..modules.segment_cache import SegmentCache
from ..modules.segment_layer import SegmentLayer
from ..modules.segment_memory import LayerMemory, SegmentLengths, SegmentMemory
from .memory_steps import LayersOutput, MemorySteps
from .segment_stack import SegmentStack


class SegmentSteps(SegmentStack, MemorySteps):
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
