"""fairseq's Transformer encoder in evaluation, by the same names of parameters.

Size legend: B sentences, S source positions, C model dimension.
"""

import math
from typing import Any

from torch import Tensor, nn

from ..modules.activations import ACTIVATIONS
from .positions import positions_of
from .self_attention import SelfAttention
from .shapes import Shape

EncoderOut = dict[str, list[Tensor]]
#: What fairseq's encoder tells besides, and nobody here asks for.
_UNTOLD = ("encoder_embedding", "encoder_states", "src_tokens", "src_lengths")


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.normalize_before = shape.pre_norm
        self.self_attn = SelfAttention(shape.dim, shape.heads)
        self.self_attn_layer_norm = nn.LayerNorm(shape.dim)
        self.activation_fn = ACTIVATIONS[shape.activation]
        self.fc1 = nn.Linear(shape.dim, shape.ffn_dim)
        self.fc2 = nn.Linear(shape.ffn_dim, shape.dim)
        self.final_layer_norm = nn.LayerNorm(shape.dim)

    def forward(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        """x `(B, S, C)`, hidden `(B, 1, 1, S)` or None."""
        pre, norm = self.normalize_before, self.self_attn_layer_norm
        y = norm(x) if pre else x
        x = x + self.self_attn(y, *self.self_attn.entries(y), hidden)
        x = x if pre else norm(x)
        y = self.final_layer_norm(x) if pre else x
        x = x + self.fc2(self.activation_fn(self.fc1(y)))
        return x if pre else self.final_layer_norm(x)


class Encoder(nn.Module):
    """The encoder.

    Args:
        shape: what it is made of.
        embed_tokens: of the source's words.
        padding: symbol.
    """

    quant_noise = None  # as fairseq calls what it can train with

    def __init__(self, shape: Shape, embed_tokens: nn.Embedding, padding: int):
        super().__init__()
        self.padding_idx, self.max_source_positions = padding, shape.max_positions
        self.embed_tokens = embed_tokens
        self.embed_scale = math.sqrt(shape.dim) if shape.scale_embedding else 1.0
        self.embed_positions = positions_of(
            shape.positions, shape.max_positions, shape.dim, padding
        )
        self.layernorm_embedding = nn.LayerNorm(shape.dim) if shape.norm_embedding else None
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.layers))
        self.layer_norm = nn.LayerNorm(shape.dim) if shape.final_norm else None

    def forward_embedding(self, src_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Words with positions and norm `(B, S, C)`, and the words alone."""
        x = words = self.embed_scale * self.embed_tokens(src_tokens)
        if self.embed_positions is not None:
            x = words + self.embed_positions(src_tokens)
        return (x if self.layernorm_embedding is None else self.layernorm_embedding(x)), words

    def forward(
        self, src_tokens: Tensor, src_lengths: Tensor | None = None, **unused: Any
    ) -> EncoderOut:
        """Of src_tokens `(B, S)`, in fairseq's form: `encoder_out` `(S, B, C)`, mask `(B, S)`."""
        mask = src_tokens.eq(self.padding_idx)
        x, _ = self.forward_embedding(src_tokens)
        hidden = None
        if bool(mask.any()):
            x = x.masked_fill(mask.unsqueeze(2), 0.0)
            hidden = mask[:, None, None]
        for layer in self.layers:
            x = layer(x, hidden)
        x = x if self.layer_norm is None else self.layer_norm(x)
        found = {"encoder_out": [x.transpose(0, 1)], "encoder_padding_mask": [mask]}
        return {**found, **{name: [] for name in _UNTOLD}}

    def reorder_encoder_out(self, encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
        """The sentences `new_order`, in that order."""
        sentences = {"encoder_out": 1, "encoder_padding_mask": 0}
        moved = {
            name: [x.index_select(dim, new_order) for x in encoder_out[name]]
            for name, dim in sentences.items()
        }
        return {**encoder_out, **moved}

    def max_positions(self) -> int:
        """The longest source, the end symbol counted."""
        if self.embed_positions is None:
            return self.max_source_positions
        return min(self.max_source_positions, self.embed_positions.max_positions)
