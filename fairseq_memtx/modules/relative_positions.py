"""Positions by distance: what a query adds to the content of a key that stands d positions back.

Two kinds, one interface. `SinusoidalPositions` is Transformer-XL's (Dai et al. 2019, arXiv
1901.02860, section 3.3), with all four terms:

    A_ij = q_i.k_j + q_i.(W_r R_{i-j}) + u.k_j + v.(W_r R_{i-j})

`LearnedRelativePositions` has a learned key for each distance instead, and neither u nor v (Shaw et
al. 2018, arXiv 1803.02155, keys only): A_ij = q_i.k_j + q_i.p_{i-j}.

A query that sees keys after itself has distances below 0 too; sines tell them from those above.

Size legend: K keys, Q queries, H heads, D head dimension, C = H * D.
"""

import torch
from torch import Tensor, nn

from .attention import attention_linear


def sinusoids(distances: Tensor, dim: int) -> Tensor:
    """R of each distance `(K,)`: `(K, C)`, sines in the first half and cosines in the second.

    Computed in float32 at least, whatever half precision the model has.
    """
    distances = distances.to(torch.promote_types(distances.dtype, torch.float32))
    # not arange(0, dim, 2, dtype=...), whose float32 rounding a float64 oracle would notice
    exponents = torch.arange(dim // 2, device=distances.device).to(distances.dtype) * (2.0 / dim)
    angles = distances[:, None] * 10000.0**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def key_of_distance(table: Tensor, distances: Tensor) -> Tensor:
    """The rows of `table` `(n, D)` for the distances `(K,)`, the last row for n - 1 and beyond."""
    return table[distances.clamp(max=table.size(0) - 1)]


def by_key(by_distance: Tensor) -> Tensor:
    """Scores by distance to scores by key: Transformer-XL's relative shift.

    Args:
        by_distance: `(..., Q, K)`; column c belongs to the distance K - 1 - c. The queries are the
            last Q of the K positions.

    Returns:
        `(..., Q, K)`; column j belongs to key j. Keys after the query hold meaningless values, to
        be masked, unless Q - 1 columns for the distances below 0 follow: of such scores the first K
        columns are those of the keys.
    """
    num_queries, num_keys = by_distance.shape[-2:]
    # With one column in front, every row of the flattened matrix begins one column further left.
    padded = nn.functional.pad(by_distance, (1, 0)).flatten(-2)
    return padded[..., num_queries:].unflatten(-1, (num_queries, num_keys))


class RelativePositions(nn.Module):
    """Keys of distances, and the two biases on the query (None where the kind has none).

    Attributes:
        content_bias: u, `(H, D)`, added to the query where it meets the content of a key.
        position_bias: v, `(H, D)`, added to the query where it meets the key of a distance.
    """

    def __init__(self):
        super().__init__()
        self.content_bias: nn.Parameter | None = None
        self.position_bias: nn.Parameter | None = None

    def forward(self, num_keys: int, ahead: int = 0) -> Tensor:
        """Keys of the distances K - 1, ..., 0, ..., -ahead.

        Args:
            num_keys: K.
            ahead: of how many keys after the query.

        Returns:
            `(H, K + ahead, D)`; H is 1 where the heads share them.

        Raises:
            ValueError: for `ahead`, where the kind has keys of what is behind alone.
        """
        raise NotImplementedError


class SinusoidalPositions(RelativePositions):
    """Projected sinusoids of the distance, with the biases u and v.

    Args:
        embed_dim: C, even.
        num_heads: H.
        clamp_len: distances beyond it, on either side, count as `clamp_len`; 0 means no limit.

    Raises:
        ValueError: for an odd `embed_dim`.
    """

    def __init__(self, embed_dim: int, num_heads: int, clamp_len: int = 0):
        super().__init__()
        if embed_dim % 2 != 0:
            raise ValueError(f"the dimension is {embed_dim}: it has to be even")
        self.num_heads = num_heads
        self.clamp_len = clamp_len
        self.r_proj = attention_linear(embed_dim, embed_dim, 2**-0.5, bias=False)
        shape = (num_heads, embed_dim // num_heads)
        self.content_bias = nn.Parameter(torch.empty(shape))
        self.position_bias = nn.Parameter(torch.empty(shape))
        nn.init.normal_(self.content_bias, std=0.02)
        nn.init.normal_(self.position_bias, std=0.02)

    def forward(self, num_keys: int, ahead: int = 0) -> Tensor:
        weight = self.r_proj.weight
        distances = torch.arange(num_keys - 1, -1 - ahead, -1, device=weight.device)
        if self.clamp_len > 0:
            distances = distances.clamp(-self.clamp_len, self.clamp_len)
        exact = distances.to(torch.promote_types(weight.dtype, torch.float32))
        keys = self.r_proj(sinusoids(exact, weight.size(1)).to(weight.dtype))
        # (K, C) -> (H, K, D)
        return keys.unflatten(1, (self.num_heads, -1)).transpose(0, 1)


class LearnedRelativePositions(RelativePositions):
    """A learned key for each of the distances 0 .. max_distance, shared by the heads.

    Larger distances use the last one.
    """

    def __init__(self, head_dim: int, max_distance: int):
        super().__init__()
        self.distance_keys = nn.Parameter(torch.empty(max_distance + 1, head_dim))
        nn.init.normal_(self.distance_keys, std=head_dim**-0.5)

    def forward(self, num_keys: int, ahead: int = 0) -> Tensor:
        if ahead > 0:
            raise ValueError("learned keys are of distances behind the query alone")
        distances = torch.arange(num_keys - 1, -1, -1, device=self.distance_keys.device)
        return key_of_distance(self.distance_keys, distances).unsqueeze(0)
