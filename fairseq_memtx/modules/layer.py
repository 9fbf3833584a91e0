"""A decoder layer that attends to a given memory, for one target position at a time.

Fan et al. 2020 (arXiv 2002.09402), section 3: z = Attn(x, memory), then cross-attention and
feed-forward. The sublayers' order, norms and parameter names are those of fairseq's Transformer
decoder layer; only the projections of the memory's keys and values are missing, since the memory
owns them.

Size legend: N rows (sentences, times beams in a search), t memories in view, S source positions,
C model dimension, H heads, D = C / H, F feed-forward dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from .attention import (
    attention_linear,
    output_linear,
    queries_to_rows,
    rows_to_queries,
    split_heads,
)
from .cross_attention import CrossAttention, CrossMemory
from .dropout import NO_MASKS, DropoutRates, LayerMasks, drop
from .memory import View


@dataclass(frozen=True)
class LayerSizes:
    """What a layer is made of.

    Attributes:
        embed_dim: C.
        ffn_dim: F.
        num_heads: H, a divisor of C.
        encoder_dim: dimension of the encoder's output, or None for a layer without cross-attention.
        normalize_before: pre-norm if True, post-norm if False.
        dropout: probabilities.
        activation: of the feed-forward network.
    """

    embed_dim: int
    ffn_dim: int
    num_heads: int
    encoder_dim: int | None
    normalize_before: bool = False
    dropout: DropoutRates = field(default_factory=DropoutRates)
    activation: Callable[[Tensor], Tensor] = F.relu

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(
                f"the number of attention heads is {self.num_heads}: it has to be at least 1"
            )
        if self.embed_dim % self.num_heads != 0:
            raise ValueError(
                f"the dimension is {self.embed_dim}: it has to be a multiple of its"
                f" {self.num_heads} attention heads"
            )


class MemoryAttention(nn.Module):
    """Multi-head attention from target positions to their memory: queries and output only.

    Attributes:
        listener: hears the probabilities of each call, `(N, H, t)`; None for nobody.
    """

    listener: Callable[[Tensor], None] | None = None

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.scaling = (embed_dim // num_heads) ** -0.5
        self.q_proj = attention_linear(embed_dim, embed_dim, 2**-0.5)
        self.out_proj = output_linear(embed_dim, embed_dim)

    def forward(self, x: Tensor, past: View, dropout_mask: Tensor | None = None) -> Tensor:
        """Attend from `x` `(N, C)`; dropout_mask `(N, H, t)`. Returns `(N, C)`."""
        num_sentences = past.keys.size(0)
        # (N, C) -> (N, H, D) -> (B, H, Q, D)
        query = split_heads(self.q_proj(x) * self.scaling, self.num_heads)
        query = rows_to_queries(query, num_sentences)
        if dropout_mask is not None:
            dropout_mask = rows_to_queries(dropout_mask, num_sentences)
        context, probs = past.attend(query, dropout_mask)
        if self.listener is not None:
            self.listener(queries_to_rows(probs))
        return self.out_proj(queries_to_rows(context).flatten(1))


class DecoderLayer(nn.Module):
    """What the layers of all memory decoders share: everything but the attention to the past.

    Args:
        sizes: what the layer is made of.
        self_attn: the attention to the past; a subclass calls it.
    """

    def __init__(self, sizes: LayerSizes, self_attn: nn.Module):
        super().__init__()
        self.sizes = sizes
        self.normalize_before = sizes.normalize_before
        dim = sizes.embed_dim
        self.self_attn = self_attn
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.encoder_attn: CrossAttention | None = None
        if sizes.encoder_dim is not None:
            self.encoder_attn = CrossAttention(dim, sizes.encoder_dim, sizes.num_heads)
            self.encoder_attn_layer_norm = nn.LayerNorm(dim)
        self.activation = sizes.activation
        self.fc1 = nn.Linear(dim, sizes.ffn_dim)
        self.fc2 = nn.Linear(sizes.ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def after_attention(
        self, x: Tensor, source: CrossMemory | None, masks: LayerMasks
    ) -> tuple[Tensor, Tensor | None]:
        """Cross-attention, then the feed-forward network, each with its residual sum and norm.

        Args:
            x: `(N, C)`; rows may be positions too, see `CrossAttention`.
            source: keys and values of the source, or None without cross-attention.
            masks: dropout masks of these rows.

        Returns:
            The layer's output `(N, C)` and its cross-attention probabilities `(N, H, S)` or None.
        """
        probs = None
        if self.encoder_attn is not None and source is not None:
            y = self._before(self.encoder_attn_layer_norm, x)
            y, probs = self.encoder_attn(y, source, masks.cross_probs)
            x = self._after(self.encoder_attn_layer_norm, x + drop(y, masks.cross_out))
        y = self.activation(self.fc1(self._before(self.final_layer_norm, x)))
        y = self.fc2(drop(y, masks.activation))
        return self._after(self.final_layer_norm, x + drop(y, masks.ffn_out)), probs

    def _before(self, norm: nn.Module, x: Tensor) -> Tensor:
        return norm(x) if self.normalize_before else x

    def _after(self, norm: nn.Module, x: Tensor) -> Tensor:
        return x if self.normalize_before else norm(x)


class FeedbackLayer(DecoderLayer):
    """Memory attention, cross-attention and feed-forward of one layer at one position."""

    def __init__(self, sizes: LayerSizes):
        super().__init__(sizes, MemoryAttention(sizes.embed_dim, sizes.num_heads))

    def forward(
        self,
        x: Tensor,
        past: View,
        source: CrossMemory | None = None,
        masks: LayerMasks = NO_MASKS,
    ) -> tuple[Tensor, Tensor | None]:
        """One position, or those of a block side by side, through the layer.

        Args:
            x: `(N, C)`.
            past: the memories of the earlier positions.
            source: keys and values of the source, or None without cross-attention.
            masks: dropout masks of these rows.

        Returns:
            The layer's output `(N, C)` and its cross-attention probabilities `(N, H, S)` or None.
        """
        y = self.self_attn(self._before(self.self_attn_layer_norm, x), past, masks.memory_probs)
        x = self._after(self.self_attn_layer_norm, x + drop(y, masks.memory_out))
        return self.after_attention(x, source, masks)
