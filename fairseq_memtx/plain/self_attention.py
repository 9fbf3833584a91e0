"""Multi-head attention of a text to itself, in evaluation.

Size legend: B sentences, Q queries, K keys, C model dimension, H heads, D = C / H.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..modules.attention import (
    attention_linear,
    masked_softmax,
    output_linear,
    softmax,
    split_heads,
)

#: Keys and values `(B, H, K, D)`.
Entries = tuple[Tensor, Tensor]


class SelfAttention(nn.Module):
    """Queries, keys and values of the same states (Vaswani et al. 2017, section 3.2.2).

    Attributes:
        listener: hears the probabilities of the last query of each call, `(B, H, K)`; None for
            nobody.
    """

    listener: Callable[[Tensor], None] | None = None

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.scaling = (dim // num_heads) ** -0.5
        self.q_proj, self.k_proj, self.v_proj = (
            attention_linear(dim, dim, 2**-0.5) for _ in range(3)
        )
        self.out_proj = output_linear(dim, dim)

    def entries(self, x: Tensor) -> Entries:
        """Keys and values of x `(B, K, C)`."""
        keys, values = (
            split_heads(linear(x), self.num_heads).transpose(1, 2)
            for linear in (self.k_proj, self.v_proj)
        )
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> Tensor:
        """Attend from x.

        Args:
            x: `(B, Q, C)`.
            keys, values: `(B, H, K, D)`.
            hidden: what can be broadcast to `(B, H, Q, K)`, True where a key is not seen; or None.

        Returns:
            `(B, Q, C)`.
        """
        query = split_heads(self.q_proj(x) * self.scaling, self.num_heads).transpose(1, 2)
        scores = torch.matmul(query, keys.transpose(-1, -2))
        probs = softmax(scores) if hidden is None else masked_softmax(scores, hidden)
        if self.listener is not None:
            self.listener(probs[:, :, -1])
        # (B, H, Q, D) -> (B, Q, C)
        return self.out_proj(torch.matmul(probs, values).transpose(1, 2).flatten(2))
