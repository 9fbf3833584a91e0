"""Scaled dot-product attention over an explicit set of keys (Vaswani et al. 2017, section 3.2).

Size legend: B sentences, H heads, Q queries, K keys, D head dimension, C = H * D.
"""

import torch
from torch import Tensor, nn


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """`(..., C)` -> `(..., H, D)`."""
    return x.unflatten(-1, (num_heads, -1))


def attention_probs(scores: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Softmax over the keys that are not masked.

    Args:
        scores: `(B, H, Q, K)`.
        padding_mask: `(B, K)`, True where a key must not be attended to.

    Returns:
        `(B, H, Q, K)`; each row sums to one, or is all zeros where no key may be attended to, so
        that an empty memory adds nothing (a softmax over masked zeros would soak up mass).
    """
    # Half precision overflows in the exponential: like fairseq, normalise in float32.
    dtype = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
    if padding_mask is None:
        return scores.softmax(dim=-1, dtype=dtype).type_as(scores)
    mask = padding_mask[:, None, None, :]
    probs = scores.masked_fill(mask, float("-inf")).softmax(dim=-1, dtype=dtype)
    # A row without any key is NaN here; filling repairs its value, and its gradient too.
    return probs.masked_fill(mask, 0.0).type_as(scores)


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    padding_mask: Tensor | None = None,
    position_keys: Tensor | None = None,
    dropout_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of `query` over `keys`; over an empty set (K = 0) the context is zero.

    Args:
        query: `(B, H, Q, D)`, already scaled by `D ** -0.5`.
        keys, values: `(B, H, K, D)`.
        padding_mask: `(B, K)`, True at keys that do not exist.
        position_keys: `(K, D)`, added to the keys of every head (learned relative positions).
        dropout_mask: `(B, H, Q, K)`, multiplied into the probabilities.

    Returns:
        The context `(B, H, Q, D)` and the probabilities before dropout `(B, H, Q, K)`.
    """
    scores = torch.matmul(query, keys.transpose(-1, -2))
    if position_keys is not None:
        scores = scores + torch.matmul(query, position_keys.t())
    probs = attention_probs(scores, padding_mask)
    weights = probs if dropout_mask is None else probs * dropout_mask
    return torch.matmul(weights, values), probs


def attention_linear(in_dim: int, out_dim: int, gain: float = 1.0) -> nn.Linear:
    """A projection initialised as fairseq's multi-head attention does (Xavier uniform)."""
    linear = nn.Linear(in_dim, out_dim)
    nn.init.xavier_uniform_(linear.weight, gain=gain)
    return linear


def output_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """The projection after the heads: Xavier uniform, zero bias."""
    linear = attention_linear(in_dim, out_dim)
    nn.init.zeros_(linear.bias)
    return linear
