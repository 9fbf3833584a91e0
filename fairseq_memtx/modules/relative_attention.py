"""Multi-head attention with relative positions, over keys that end where the queries end.

Size legend: B sentences, segs segments of Q positions, W keys of a segment, N rows of a search, t
keys of a row, C model dimension, H heads, D = C / H.
"""

import torch
from torch import Tensor, nn

from .attention import attention_linear, masked_softmax, output_linear, softmax
from .dropout import draw_mask, drop
from .relative_positions import RelativePositions, by_key


class RelativeAttention(nn.Module):
    """Projections and scores; the caller says which keys each query sees.

    Deviations from Dai et al. 2019 (arXiv 1901.02860): the projections have a bias, as fairseq's
    have, and nothing is shared between layers.

    Args:
        embed_dim: C.
        num_heads: H.
        positions: how distance counts.
        dropout: probability, of attention probabilities.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, positions: RelativePositions, dropout: float = 0.0
    ):
        super().__init__()
        self.num_heads = num_heads
        self.scaling = (embed_dim // num_heads) ** -0.5
        self.dropout = dropout
        self.q_proj = attention_linear(embed_dim, embed_dim, 2**-0.5)
        self.k_proj = attention_linear(embed_dim, embed_dim, 2**-0.5)
        self.v_proj = attention_linear(embed_dim, embed_dim, 2**-0.5)
        self.out_proj = output_linear(embed_dim, embed_dim)
        self.positions = positions

    def split(self, x: Tensor) -> Tensor:
        """`(B, T, C)` -> `(H, B, T, D)`: heads first, as the keys of distances have them."""
        return x.unflatten(2, (self.num_heads, -1)).permute(2, 0, 1, 3)

    def query(self, y: Tensor) -> Tensor:
        """Scaled queries `(H, B, T, D)` of y `(B, T, C)`."""
        return self.split(self.q_proj(y) * self.scaling)

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        hidden: Tensor,
        drop_probs: bool,
        ahead: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Attention within segments.

        Args:
            query: `(H, B, segs, Q, D)`, scaled: the last Q of W positions.
            keys, values: `(H, B, segs, W, D)`.
            hidden: True where a query does not see a key, broadcastable to `(B, segs, Q, W)`; every
                query sees its own position.
            drop_probs: apply attention dropout.
            ahead: queries see keys after themselves too, by distances below 0.

        Returns:
            The context `(H, B, segs, Q, D)` and probabilities before dropout `(H, B, segs, Q, W)`.
        """
        content, position = self._biased(query, (-1, 1, 1, 1))
        num_queries, num_keys = query.size(-2), keys.size(-2)
        # (H, B * segs * Q, D) x (H, D, W): one product for all sentences
        table = self.positions(num_keys, num_queries - 1 if ahead else 0).transpose(1, 2)
        by_distance = torch.matmul(position.flatten(1, 3), table)
        scores = torch.matmul(content, keys.transpose(-1, -2))
        by_distance = by_key(by_distance.unflatten(1, position.shape[1:4]))
        scores = scores + by_distance[..., :num_keys]
        probs = softmax(scores.masked_fill_(hidden, float("-inf")))
        return torch.matmul(self.drop(probs, drop_probs), values), probs

    def attend_position(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        distance_keys: Tensor,
        hidden: Tensor | None,
        drop_probs: bool,
    ) -> tuple[Tensor, Tensor]:
        """The same for one position a row, whose own key comes last.

        Args:
            query: `(N, H, D)`, scaled.
            keys, values: `(N, H, t, D)`.
            distance_keys: `(H, t, D)`, the keys of the distances t - 1, ..., 0.
            hidden: `(N, t)`, True at keys that the query does not see, or None.
            drop_probs: apply attention dropout.

        Returns:
            The context `(N, H, D)` and the probabilities before dropout `(N, H, t)`.
        """
        content, position = self._biased(query, (1, self.num_heads))
        by_distance = torch.matmul(position.transpose(0, 1), distance_keys.transpose(1, 2))
        scores = torch.matmul(keys, content.unsqueeze(-1)).squeeze(-1) + by_distance.transpose(0, 1)
        probs = softmax(scores) if hidden is None else masked_softmax(scores, hidden[:, None])
        weights = self.drop(probs, drop_probs).unsqueeze(-2)
        return torch.matmul(weights, values).squeeze(-2), probs

    def drop(self, probs: Tensor, active: bool) -> Tensor:
        """Attention dropout."""
        return drop(probs, draw_mask(self.dropout if active else 0.0, tuple(probs.shape), probs))

    def _biased(self, query: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The query plus u and plus v, whose heads stand where `shape` (before D) says."""
        u, v = self.positions.content_bias, self.positions.position_bias
        if u is None or v is None:
            return query, query
        shape = (*shape, u.size(1))
        return query + self.scaling * u.view(shape), query + self.scaling * v.view(shape)
