"""Attention of the decoder over the source, whose keys and values are computed once a sentence.

Size legend: B sentences, N = B * beam rows of a beam search, S source positions, C model dimension,
H heads, D = C / H.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .attention import (
    attend,
    attention_linear,
    output_linear,
    queries_to_rows,
    rows_to_queries,
    split_heads,
)


class CrossMemory(NamedTuple):
    """One layer's keys and values of the source.

    Attributes:
        keys, values: `(B, H, S, D)`.
        padding_mask: `(B, S)`, True at source padding, or None.
    """

    keys: Tensor
    values: Tensor
    padding_mask: Tensor | None

    def select(self, rows: Tensor) -> "CrossMemory":
        """The sentences `rows` (int64, any length, repeats allowed), in that order."""
        mask = None if self.padding_mask is None else self.padding_mask.index_select(0, rows)
        return CrossMemory(self.keys.index_select(0, rows), self.values.index_select(0, rows), mask)

    def size_bytes(self) -> int:
        """Bytes held by the keys and values."""
        return sum(x.numel() * x.element_size() for x in (self.keys, self.values))


class CrossAttention(nn.Module):
    """Multi-head attention from single target positions to the source.

    Args:
        embed_dim: C of the decoder.
        encoder_dim: dimension of the encoder's output.
        num_heads: H.
    """

    def __init__(self, embed_dim: int, encoder_dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.scaling = (embed_dim // num_heads) ** -0.5
        gain = 2**-0.5 if encoder_dim == embed_dim else 1.0
        self.q_proj = attention_linear(embed_dim, embed_dim, gain)
        self.k_proj = attention_linear(encoder_dim, embed_dim, gain)
        self.v_proj = attention_linear(encoder_dim, embed_dim, gain)
        self.out_proj = output_linear(embed_dim, embed_dim)

    def read_source(self, encoder_out: Tensor, padding_mask: Tensor | None) -> CrossMemory:
        """Keys and values of encoder_out `(S, B, C_enc)`, padding_mask `(B, S)` or None."""
        # (S, B, C) -> (B, H, S, D), contiguous so that no later product copies it
        keys = split_heads(self.k_proj(encoder_out), self.num_heads).permute(1, 2, 0, 3)
        values = split_heads(self.v_proj(encoder_out), self.num_heads).permute(1, 2, 0, 3)
        return CrossMemory(keys.contiguous(), values.contiguous(), padding_mask)

    def forward(
        self, x: Tensor, source: CrossMemory, dropout_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` `(N, C)`: N is B, or B * beam in a search, or B * Q for Q positions.

        Returns:
            The output `(N, C)` and the probabilities before dropout `(N, H, S)`.
        """
        num_sentences = source.keys.size(0)
        query = split_heads(self.q_proj(x) * self.scaling, self.num_heads)
        # (N, H, D) -> (B, H, beam, D): the beams of a sentence share its keys
        query = rows_to_queries(query, num_sentences)
        if dropout_mask is not None:
            dropout_mask = rows_to_queries(dropout_mask, num_sentences)
        context, probs = attend(
            query, source.keys, source.values, source.padding_mask, dropout_mask=dropout_mask
        )
        # (B, H, beam, D) -> (N, H, D) -> (N, C)
        context = queries_to_rows(context).flatten(1)
        return self.out_proj(context), queries_to_rows(probs)


def share_beams(x: Tensor, dim: int, beam_size: int) -> Tensor | None:
    """One copy per sentence of a tensor whose rows along `dim` repeat `beam_size` times, or None.

    None where the rows are not `beam_size` equal copies: the caller then keeps all of them.
    """
    if beam_size <= 1 or x.size(dim) % beam_size != 0:
        return None
    groups = x.unflatten(dim, (-1, beam_size))
    first = groups.narrow(dim + 1, 0, 1)
    return first.squeeze(dim + 1) if torch.equal(groups, first.expand_as(groups)) else None
