"""Scaled dot-product attention over an explicit set of keys (Vaswani et al. 2017, section 3.2).

Size legend: B sentences, H heads, Q queries, K keys, D head dimension, C = H * D, N = B * Q rows.
"""

import torch
from torch import Tensor, nn


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """`(..., C)` -> `(..., H, D)`."""
    return x.unflatten(-1, (num_heads, -1))


def rows_to_queries(x: Tensor, num_sentences: int) -> Tensor:
    """`(N, H, ...)` -> `(B, H, Q, ...)`: the Q rows of a sentence are queries to the same keys."""
    return x.unflatten(0, (num_sentences, -1)).transpose(1, 2)


def queries_to_rows(x: Tensor) -> Tensor:
    """`(B, H, Q, ...)` -> `(N, H, ...)`, back again."""
    return x.transpose(1, 2).flatten(0, 1)


def attention_probs(scores: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Softmax over the keys that are not masked.

    Args:
        scores: `(B, H, Q, K)`.
        padding_mask: `(B, K)`, True where a key must not be attended to.

    Returns:
        `(B, H, Q, K)`; each row sums to one, or is all zeros where no key may be attended to, so
        that an empty memory adds nothing (a softmax over masked zeros would soak up mass).
    """
    if padding_mask is None:
        return softmax(scores)
    return masked_softmax(scores, padding_mask[:, None, None, :])


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis; like fairseq, half precision is normalised in float32."""
    # Half precision overflows in the exponential.
    dtype = torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype
    return scores.softmax(dim=-1, dtype=dtype).type_as(scores)


def masked_softmax(scores: Tensor, hidden: Tensor) -> Tensor:
    """Softmax over what `hidden` (True = left out) leaves of the last axis; zeros if nothing.

    The mask must be broadcastable to the scores.
    """
    # The lowest number instead of -inf, with which a row without any key would be NaN in between:
    # filling would repair its value, but torch's anomaly detection would still stop there.
    probs = softmax(scores.masked_fill(hidden, torch.finfo(scores.dtype).min))
    return probs.masked_fill(hidden, 0.0)


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


def attention_linear(in_dim: int, out_dim: int, gain: float = 1.0, bias: bool = True) -> nn.Linear:
    """A projection initialised as fairseq's multi-head attention does (Xavier uniform)."""
    linear = nn.Linear(in_dim, out_dim, bias=bias)
    nn.init.xavier_uniform_(linear.weight, gain=gain)
    return linear


def output_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """The projection after the heads: Xavier uniform, zero bias."""
    linear = attention_linear(in_dim, out_dim)
    nn.init.zeros_(linear.bias)
    return linear
