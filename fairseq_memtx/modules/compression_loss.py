"""Losses that teach the compression functions (Rae et al. 2019, section 3.2 and Algorithm 2).

Their gradient reaches the compression function alone: everything else is given detached. Each is
summed over blocks and sentences: || . ||_2 is the norm over a block's positions and features, not
squared, as in the paper.

Size legend: B sentences, blocks, n old states of a block, m = n / c new ones, Q queries, H heads,
D head dimension, C model dimension.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .attention import masked_softmax


class Entries(NamedTuple):
    """Keys and values `(H, B, blocks, n, D)` of a block's entries, and a mask `(B, blocks, n)`.

    The mask is True where an entry does not exist.
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor


def content_attention(query: Tensor, entries: Entries) -> Tensor:
    """Attention by content alone (no positions), zero over a block without entries.

    Args:
        query: `(H, B, blocks, Q, D)`, scaled.
        entries: what to attend to.

    Returns:
        `(H, B, blocks, Q, D)`.
    """
    scores = torch.matmul(query, entries.keys.transpose(-1, -2))
    return torch.matmul(masked_softmax(scores, entries.hidden.unsqueeze(2)), entries.values)


def attention_reconstruction(
    query: Tensor, query_padding: Tensor, old: Entries, new: Entries
) -> Tensor:
    """sum || attn(h, old) - attn(h, f_c(old)) ||_2 over sentences and blocks.

    Args:
        query: `(H, B, blocks, Q, D)`, scaled: the segments after which the blocks are compressed.
        query_padding: `(B, blocks, Q)`, True at padding.
        old, new: a block before and after compression.

    Returns:
        A scalar.
    """
    nothing = (query_padding | old.hidden.all(dim=-1, keepdim=True)).unsqueeze(-1)
    change = content_attention(query, old) - content_attention(query, new)
    change = change.masked_fill(nothing, 0.0)
    # over heads, queries and features: one norm for each sentence and block (B, blocks)
    return torch.linalg.vector_norm(change, dim=(0, 3, 4)).sum()


def auto_encoding(old: Tensor, old_hidden: Tensor, rebuilt: Tensor) -> Tensor:
    """sum || old - g(f_c(old)) ||_2 over blocks.

    Args:
        old: `(B, blocks, n, C)`.
        old_hidden: `(B, blocks, n)`, True where a state does not exist.
        rebuilt: `(B, blocks, n, C)`.
    """
    change = (old - rebuilt).masked_fill(old_hidden.unsqueeze(-1), 0.0)
    return torch.linalg.vector_norm(change, dim=(2, 3)).sum()
