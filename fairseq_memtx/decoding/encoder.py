"""fairseq's Transformer encoder on weights that are prepared for it; see `fused` and `linear`.

Size legend: B sentences, S source positions, N = B * S rows, C model dimension, H heads, D = C / H.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .fused_parts import attend, normed
from .linear import FrozenLinear


class FusedEncoderLayer:
    """An encoder layer; rows are the positions of all sentences, one sentence after the other."""

    def __init__(self, layer: Any):
        attn = layer.self_attn
        self.num_heads, self.pre_norm = attn.num_heads, layer.normalize_before
        self.inputs = FrozenLinear([attn.q_proj, attn.k_proj, attn.v_proj], scale=attn.scaling)
        self.out = FrozenLinear([attn.out_proj])
        self.norm, self.final_norm = layer.self_attn_layer_norm, layer.final_layer_norm
        relu = layer.activation_fn is F.relu
        self.activation = None if relu else layer.activation_fn
        self.fc1, self.fc2 = FrozenLinear([layer.fc1], relu=relu), FrozenLinear([layer.fc2])

    def __call__(self, x: Tensor, num_sentences: int, bias: Tensor | None) -> Tensor:
        """x `(N, C)`; bias `(B, 1, S)` added to the scores of attention, or None."""
        dim = x.size(1)
        joined = self.inputs(normed(self.norm, x, self.pre_norm))
        # (N, 2C) -> (B, S, 2, H, D) -> (2, B, H, S, D)
        entries = joined[:, dim:].view(num_sentences, -1, 2, self.num_heads, dim // self.num_heads)
        keys, values = entries.permute(2, 0, 3, 1, 4).contiguous()
        context, _ = attend(joined[:, :dim], keys, values, bias)
        x = normed(self.norm, self.out.add(context, x), not self.pre_norm)
        y = self.fc1(normed(self.final_norm, x, self.pre_norm))
        y = y if self.activation is None else self.activation(y)
        return normed(self.final_norm, self.fc2.add(y, x), not self.pre_norm)


class FusedEncoder:
    """An encoder ready for many batches; it holds copies of its weights as they are now.

    Args:
        encoder: fairseq's Transformer encoder.
    """

    def __init__(self, encoder: Any):
        self.encoder = encoder
        self.layers = [FusedEncoderLayer(layer) for layer in encoder.layers]

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """The output `(S, B, C)` of tokens `(B, S)` and the mask `(B, S)` of padding, if any."""
        mask, bias = tokens.eq(self.encoder.padding_idx), None
        x, _ = self.encoder.forward_embedding(tokens)
        if bool(mask.any()):
            bias = x.new_zeros(mask.shape).masked_fill_(mask, -torch.inf).unsqueeze(1)
        x = x.flatten(0, 1)
        for layer in self.layers:
            x = layer(x, len(tokens), bias)
        norm = self.encoder.layer_norm
        x = x if norm is None else normed(norm, x, True)
        x = x.unflatten(0, tuple(tokens.shape)).transpose(0, 1)
        return x, None if bias is None else mask
