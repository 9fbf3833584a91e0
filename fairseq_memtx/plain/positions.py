"""Absolute positions as fairseq counts them: padding has none, the first word the first row after
that of padding.

Size legend: B sentences, T positions, C model dimension.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .shapes import MOST_POSITIONS


def numbers_of(tokens: Tensor, padding: int) -> Tensor:
    """The row of each of the tokens `(B, T)`."""
    real = tokens.ne(padding).long()
    return real.cumsum(dim=1) * real + padding


class LearnedPositions(nn.Embedding):
    """A learned row for each position."""

    def __init__(self, max_positions: int, dim: int, padding: int):
        super().__init__(max_positions + padding + 1, dim, padding)
        self.padding, self.max_positions = padding, max_positions

    def forward(self, tokens: Tensor, incremental_state: object = None) -> Tensor:
        """`(B, T, C)` of tokens `(B, T)`; with an incremental state `(1, 1, C)` of the last."""
        if incremental_state is not None:
            return self.weight[self.padding + tokens.size(1)].view(1, 1, -1)
        return super().forward(numbers_of(tokens, self.padding))


class SinePositions(nn.Module):
    """Sines, then cosines (Vaswani et al. 2017, section 3.5), made when they are asked for."""

    weights: Tensor

    def __init__(self, max_positions: int, dim: int, padding: int):
        super().__init__()
        self.dim, self.padding, self.max_positions = dim, padding, MOST_POSITIONS
        self._usual = max_positions + padding + 1
        self.register_buffer("weights", torch.empty(0, dim), persistent=False)

    def forward(self, tokens: Tensor, incremental_state: object = None) -> Tensor:
        """`(B, T, C)` of tokens `(B, T)`; with an incremental state `(B, 1, C)` of the last."""
        needed = self.padding + 1 + tokens.size(1)
        if needed > len(self.weights):
            count = max(needed, self._usual)
            self.weights = sines(count, self.dim, self.padding).to(self.weights)
        if incremental_state is not None:
            return self.weights[self.padding + tokens.size(1)].expand(len(tokens), 1, -1)
        return self.weights[numbers_of(tokens, self.padding)]


def sines(count: int, dim: int, padding: int) -> Tensor:
    """The table `(count, dim)`, zeros for padding."""
    half = dim // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float) * -(math.log(10000) / (half - 1)))
    angles = torch.arange(count, dtype=torch.float).unsqueeze(1) * rates
    table = torch.cat([angles.sin(), angles.cos(), torch.zeros(count, dim % 2)], dim=1)
    table[padding] = 0
    return table


def positions_of(kind: str, max_positions: int, dim: int, padding: int) -> Any:
    """Of the kind; None for none."""
    if kind == "none":
        return None
    made = LearnedPositions if kind == "learned" else SinePositions
    return made(max_positions, dim, padding)
