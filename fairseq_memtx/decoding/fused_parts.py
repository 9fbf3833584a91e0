"""What the fused steps of all decoders are made of: attention over slots, and what it reads.

Size legend: B sentences, R rows a sentence, N = B * R, C model dimension, H heads, D = C / H, S
source positions, s slots of the past, L layers.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .beam_cache import move_sentences


class ByDistance(NamedTuple):
    """What a slot's distance adds to its key.

    Attributes:
        keys: `(n, D)` of the distances that there are keys of, or `(H, n, D)`, of each head.
        of_slot: `(B, s)`, the number of each slot's.
        offsets: `(H, n)`, added to the score of a distance whatever the query; None for nothing.
    """

    keys: Tensor
    of_slot: Tensor
    offsets: Tensor | None = None

    def scores(self, query: Tensor) -> Tensor:
        """What is added to the scores `(B, H, R, s)` of queries `(B, H, R, D)`."""
        found = torch.matmul(query, self.keys.transpose(-1, -2))
        if self.offsets is not None:
            found = found.add_(self.offsets.unsqueeze(1))
        shape = (*query.shape[:3], self.of_slot.size(1))
        return found.gather(3, self.of_slot[:, None, None].expand(shape))


class PastCache(Protocol):
    """Keys and values of the past: `BeamCache` or `StaticCache`, see there."""

    num_sentences: int
    length: int

    @property
    def bias(self) -> Tensor | None: ...

    def open(self, rows: int) -> None: ...

    def write(self, kind: int, entries: Tensor) -> None: ...

    def read(self, kind: int) -> Tensor: ...


class SourceCache:
    """Keys and values of the source for all layers.

    Args:
        entries: `(2L, B, H, S, D)`, keys and values in turn.
        padding_mask: `(B, S)`, True at padding, or None for none.
    """

    def __init__(self, entries: Tensor, padding_mask: Tensor | None):
        self.entries, self.bias = entries, None
        if padding_mask is not None:
            zeros = entries.new_zeros(padding_mask.shape)
            self.bias = zeros.masked_fill_(padding_mask, -torch.inf).unsqueeze(1)

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values `(B, H, S, D)` of a layer."""
        return self.entries[2 * layer], self.entries[2 * layer + 1]

    def move(self, kept: Tensor | None) -> None:
        """Keep the sentences at the places `kept`; see `beam_search.Move`."""
        if kept is None:
            return
        move_sentences(self.entries, 1, kept)
        self.entries = self.entries[:, : len(kept)]
        self.bias = None if self.bias is None else self.bias[kept]

    def size_bytes(self) -> int:
        """Bytes of the keys and values."""
        return self.entries.numel() * self.entries.element_size()


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    by_distance: ByDistance | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of the rows of each sentence over its slots.

    Args:
        query: `(N, C)`, scaled.
        keys, values: `(B, H, s, D)`.
        bias: `(B, R or 1, s)` added to the scores, or None.
        by_distance: what is added to the keys, or None.

    Returns:
        The context `(N, C)` and the probabilities `(B, H, R, s)`.
    """
    sentences, heads, slots, head_dim = keys.shape
    # (N, C) -> (B, R, H, D) -> (B * H, R, D)
    query = query.view(sentences, -1, heads, head_dim).transpose(1, 2).flatten(0, 1)
    scores = torch.bmm(query, keys.flatten(0, 1).transpose(1, 2)).view(sentences, heads, -1, slots)
    if by_distance is not None:
        scores.add_(by_distance.scores(query.view(sentences, heads, -1, head_dim)))
    if bias is not None:
        scores.add_(bias.unsqueeze(1))
    # Half precision overflows in the exponential.
    half = scores.dtype in (torch.float16, torch.bfloat16)
    probs = scores.softmax(-1, dtype=torch.float32).type_as(scores) if half else scores.softmax(-1)
    context = torch.bmm(probs.flatten(0, 1), values.flatten(0, 1))
    # (B * H, R, D) -> (B, R, H, D) -> (N, C)
    context = context.view(sentences, heads, -1, head_dim).transpose(1, 2)
    return context.reshape(-1, heads * head_dim), probs


def normed(norm: nn.LayerNorm, x: Tensor, wanted: bool) -> Tensor:
    """The layer norm of x, where it is wanted."""
    if not wanted:
        return x
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
