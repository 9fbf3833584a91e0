"""A decoder layer that attends to its segment and to its bounded memories.

The sublayers' order, norms and parameter names are those of fairseq's Transformer decoder layer.

Size legend: B sentences, N rows (sentences, times beams in a search), T target positions, S source
positions, C model dimension, H heads.
"""

from typing import NamedTuple

from torch import Tensor

from .cross_attention import CrossMemory
from .dropout import NO_MASKS, LayerMasks, draw_layer_masks, drop
from .layer import DecoderLayer, LayerSizes
from .segment_attention import SegmentAttention, SegmentPass
from .segment_cache import LayerCache
from .segment_memory import LayerMemory, SegmentLengths


class SegmentLayerOutput(NamedTuple):
    """What a layer makes of a whole target.

    Attributes:
        x: `(B, T, C)`.
        cross_probs: `(B, T, H, S)`, or None without cross-attention.
        memory: after the target, or None where it was not to be kept.
        loss: of the compression function, or None.
    """

    x: Tensor
    cross_probs: Tensor | None
    memory: LayerMemory | None
    loss: Tensor | None


class SegmentLayer(DecoderLayer):
    """Segment attention, cross-attention and feed-forward of one layer.

    Attributes:
        has_memory: the layer sees more than its segment; it is for the caller to heed.
    """

    self_attn: SegmentAttention
    has_memory = True

    def __init__(self, sizes: LayerSizes, self_attn: SegmentAttention):
        super().__init__(sizes, self_attn)

    def forward(
        self,
        x: Tensor,
        how: SegmentPass,
        source: CrossMemory | None = None,
        memory: LayerMemory | None = None,
        dropout: bool = False,
    ) -> SegmentLayerOutput:
        """A whole target through the layer.

        Args:
            x: `(B, T, C)`.
            how: lengths, padding and what is wanted.
            source: keys and values of the source, or None without cross-attention.
            memory: of the text before, or None.
            dropout: apply dropout.
        """
        out, after, loss = self.self_attn(x, self.norm_before_attention, how, memory)
        # Positions are rows from here on: (B, T, C) -> (B * T, C)
        rows, probs = self._finish(x.flatten(0, 1), out.flatten(0, 1), source, dropout)
        shape = tuple(x.shape[:2])
        probs = None if probs is None else probs.unflatten(0, shape)
        return SegmentLayerOutput(rows.unflatten(0, shape), probs, after, loss)

    def forward_position(
        self,
        x: Tensor,
        past: LayerCache,
        source: CrossMemory | None = None,
        padding: Tensor | None = None,
        dropout: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """One position of a search through the layer.

        Args:
            x: `(N, C)`.
            past: the layer's entries so far; this position is added.
            source: keys and values of the source, or None without cross-attention.
            padding: `(N,)`, True where the position is a padding symbol, or None.
            dropout: apply dropout.

        Returns:
            `(N, C)` and the cross-attention probabilities `(N, H, S)` or None.
        """
        return self._finish(x, past.attend_position(x, padding, dropout), source, dropout)

    def new_cache(self, lengths: SegmentLengths, memory: LayerMemory) -> LayerCache:
        """The state of a search that begins after `memory`."""
        return LayerCache(self.self_attn, self.norm_before_attention, lengths, memory)

    @property
    def norm_before_attention(self):
        """The norm of the attention's inputs, memories included: none with post-norm."""
        return self.self_attn_layer_norm if self.normalize_before else identity

    def _finish(
        self, x: Tensor, out: Tensor, source: CrossMemory | None, dropout: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Everything after the attention's output, for rows `(N, C)`."""
        masks = self._draw_masks(x, source) if dropout else NO_MASKS
        x = self._after(self.self_attn_layer_norm, x + drop(out, masks.memory_out))
        return self.after_attention(x, source, masks)

    def _draw_masks(self, x: Tensor, source: CrossMemory | None) -> LayerMasks:
        """Masks for rows `(N, C)`; attention to the past draws its own."""
        sizes, source_len = self.sizes, 0 if source is None else source.keys.size(2)
        return draw_layer_masks(
            sizes.dropout, x[None], sizes.num_heads, sizes.ffn_dim, source_len, memory_len=0
        ).at(0)


def identity(x: Tensor) -> Tensor:
    """The norm of a layer that has none."""
    return x
