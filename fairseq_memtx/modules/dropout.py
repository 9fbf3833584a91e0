"""Dropout masks drawn for a whole target at once, so that every engine can apply the same ones.

The loop over positions and the fast engines must agree to rounding, also in training. They
therefore do not draw random numbers themselves: the masks of all positions are drawn first and
handed to them.

Size legend: T target positions, M memories (carried ones included), B sentences, S source
positions, C model dimension, H heads, F feed-forward.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..compute.dropout import scaled_mask


@dataclass(frozen=True)
class DropoutRates:
    """How often a number is dropped, in [0, 1).

    Attributes:
        hidden: on the output of each sublayer, before the residual sum (`--dropout`).
        attention: on attention probabilities (`--attention-dropout`).
        activation: after the activation of the feed-forward network (`--activation-dropout`).
    """

    hidden: float = 0.0
    attention: float = 0.0
    activation: float = 0.0


class LayerMasks(NamedTuple):
    """The masks of one layer: zeros and `1 / (1 - p)`, or None where nothing is dropped.

    Attributes:
        memory_probs: `(T, B, H, M)`; the last axis numbers the memories from 0, those at or after
            the position itself are never used.
        memory_out, cross_out, ffn_out: `(T, B, C)`.
        cross_probs: `(T, B, H, S)`.
        activation: `(T, B, F)`.
    """

    memory_probs: Tensor | None = None
    memory_out: Tensor | None = None
    cross_probs: Tensor | None = None
    cross_out: Tensor | None = None
    activation: Tensor | None = None
    ffn_out: Tensor | None = None

    def at(self, t: int) -> "LayerMasks":
        """The masks of position t: the same fields without their first axis."""
        return LayerMasks(*(None if mask is None else mask[t] for mask in self))

    def cut(self, positions: range, memories: range) -> "LayerMasks":
        """The masks of consecutive positions, for a view of consecutive memories."""
        cut = [None if x is None else x[positions.start : positions.stop] for x in self]
        if cut[0] is not None:
            cut[0] = cut[0][..., memories.start : memories.stop]
        return LayerMasks(*cut)


NO_MASKS = LayerMasks()


@dataclass(frozen=True)
class PackedMasks:
    """The masks of one layer in a byte an entry, for those that are kept for long.

    Attributes:
        kept: True at entries that are not dropped, False at the others.
        rates: that they were drawn with.
        dtype: of the masks.
    """

    kept: LayerMasks
    rates: DropoutRates
    dtype: torch.dtype

    @classmethod
    def pack(cls, masks: LayerMasks, rates: DropoutRates) -> "PackedMasks":
        """Masks that were drawn with `rates`."""
        dtype = next((mask.dtype for mask in masks if mask is not None), torch.float32)
        return cls(LayerMasks(*(None if x is None else x.ne(0) for x in masks)), rates, dtype)

    def cut(self, positions: range, memories: range) -> LayerMasks:
        """The masks of consecutive positions and memories, bit for bit those that were packed."""
        attention, hidden = self.rates.attention, self.rates.hidden
        rates = (attention, hidden, attention, hidden, self.rates.activation, hidden)
        kept = self.kept.cut(positions, memories)
        return LayerMasks(
            *(
                None if x is None else x.to(self.dtype).div_(1.0 - rate)
                for x, rate in zip(kept, rates, strict=True)
            )
        )


def draw_mask(rate: float, shape: tuple[int, ...], like: Tensor) -> Tensor | None:
    """A mask of `shape` in the dtype and on the device of `like`; None when `rate` is 0."""
    if rate == 0.0:
        return None
    return scaled_mask(rate, shape, like)


def draw_layer_masks(
    rates: DropoutRates, x: Tensor, num_heads: int, ffn_dim: int, source_len: int,
    memory_len: int,
) -> LayerMasks:  # fmt: skip
    """Draw all masks of one layer.

    Args:
        rates: probabilities.
        x: `(T, B, C)`, for its sizes, dtype and device.
        num_heads, ffn_dim: H and F.
        source_len: S, 0 without cross-attention.
        memory_len: M, the number of memories that a mask must cover.
    """
    num_steps, num_rows, _ = x.shape
    hidden = tuple(x.shape)
    has_source = source_len > 0
    return LayerMasks(
        memory_probs=draw_mask(rates.attention, (num_steps, num_rows, num_heads, memory_len), x),
        memory_out=draw_mask(rates.hidden, hidden, x),
        cross_probs=draw_mask(rates.attention, (num_steps, num_rows, num_heads, source_len), x)
        if has_source
        else None,
        cross_out=draw_mask(rates.hidden, hidden, x) if has_source else None,
        activation=draw_mask(rates.activation, (num_steps, num_rows, ffn_dim), x),
        ffn_out=draw_mask(rates.hidden, hidden, x),
    )


def drop(x: Tensor, mask: Tensor | None) -> Tensor:
    """Apply a mask drawn by `draw_mask`."""
    return x if mask is None else x * mask
