"""The memory of the Feedback Transformer: one entry per past position, read by every layer.

Fan et al. 2020 (arXiv 2002.09402), section 3. After a position's last layer its states are mixed
into m_t (see `mixture`), and k_t = W_k m_t, v_t = W_v m_t are computed once for all layers. With
several channels (see `channels`) there is an m_t of each, with projections of its own.

Deviations, both stated by the authors' code: with pre-norm layers the memory passes one shared
layer norm before W_k and W_v. An empty memory is masked: position 0 attends to nothing and its
context is zero.

Size legend: B sentences, t past positions in view, H heads, D head dimension, C = H * D, L layers,
G pairs of projections.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .attention import attend, attention_linear, split_heads
from .carried_memory import CarriedMemory
from .channels import wire
from .mixture import make_mixture
from .relative_positions import key_of_distance


class View(Protocol):
    """What a layer sees of the past, from one position or from several at once.

    Attributes:
        keys: `(B, H, K, D)`.
    """

    @property
    def keys(self) -> Tensor: ...

    def attend(self, query: Tensor, dropout_mask: Tensor | None, /) -> tuple[Tensor, Tensor]:
        """The context `(B, H, Q, D)` and the probabilities before dropout `(B, H, Q, K)`.

        Args:
            query: `(B, H, Q, D)`, scaled.
            dropout_mask: `(B, H, Q, K)`, multiplied into the probabilities, or None.
        """


class MemoryView(NamedTuple):
    """What one layer sees of the past from a single position.

    Attributes:
        keys, values: `(B, H, t, D)`, oldest first, the position just before the current one last.
        padding_mask: `(B, t)`, True where the entry belongs to a padding symbol, or None.
        position_keys: `(t, D)`, the learned key of each entry's distance, or None.
    """

    keys: Tensor
    values: Tensor
    padding_mask: Tensor | None
    position_keys: Tensor | None

    def attend(self, query: Tensor, dropout_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The context `(B, H, 1, D)` and the probabilities `(B, H, 1, t)`; see `View`."""
        return attend(query, *self, dropout_mask)


class PastMemories(Protocol):
    """The memories of the positions before the current one, while training or while decoding."""

    def __len__(self) -> int:
        """Number of positions so far, in view or not."""

    def views(self) -> Sequence[View]:
        """One view for each of the G pairs of projections; `FeedbackMemory.wiring` says whose."""

    def add_memory(self, keys: Tensor, values: Tensor, padding: Tensor | None, /) -> None:
        """Add a position: keys and values `(G, B, H, D)` of the G projections, padding `(B,)`."""


class FeedbackMemory(nn.Module):
    """Parameters that turn a position's states into a memory, its keys and its values.

    Args:
        num_layers: L.
        embed_dim: C.
        num_heads: H.
        mixture: kind of mixture, see `mixture`.
        channels: memories of a position; layer l reads that of the number l modulo these.
        normalize: apply a layer norm to the memory before the projections (for pre-norm layers);
            all channels have the same.
        shared_kv: one projection for all layers of a channel (with one channel, the paper), or one
            for each layer (its ablation).
        span: number of past positions in view; 0 means all of them.
        num_distances: learned key embeddings for the distances 1 .. num_distances, shared by heads
            and layers, larger distances using the last one (the paper's relative positions); 0
            means none.
        kept: of a pruned decoder, the numbers that its L layers had before; `channels` are those
            of before too.

    Attributes:
        wiring: which layer reads which pair, and which channel that projects.
    """

    def __init__(
        self,
        num_layers: int,
        embed_dim: int,
        num_heads: int,
        *,
        mixture: str = "softmax",
        channels: int = 1,
        normalize: bool = False,
        shared_kv: bool = True,
        span: int = 0,
        num_distances: int = 0,
        kept: Sequence[int] | None = None,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.span = span
        self.wiring = wire(num_layers, channels, shared_kv, kept)
        self.mixture = make_mixture(mixture, num_layers, embed_dim, self.wiring.num_channels, kept)
        self.layer_norm = nn.LayerNorm(embed_dim) if normalize else None
        num_projections = len(self.wiring.pairs)
        gain = 2**-0.5
        self.k_proj = nn.ModuleList(
            attention_linear(embed_dim, embed_dim, gain) for _ in range(num_projections)
        )
        self.v_proj = nn.ModuleList(
            attention_linear(embed_dim, embed_dim, gain) for _ in range(num_projections)
        )
        self.distance_keys: nn.Parameter | None = None
        if num_distances > 0:
            head_dim = embed_dim // num_heads
            self.distance_keys = nn.Parameter(torch.empty(num_distances, head_dim))
            nn.init.normal_(self.distance_keys)  # of variance one, as in the authors' code

    def forward(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values, each `(G, ..., H, D)`, of positions with L + 1 states `(..., C)`."""
        memories = self.mixture(states)
        if self.layer_norm is not None:
            memories = [self.layer_norm(memory) for memory in memories]
        of_pairs = [memories[channel] for channel in self.wiring.pairs]
        return self._project(self.k_proj, of_pairs), self._project(self.v_proj, of_pairs)

    def _project(self, maps: nn.ModuleList, memories: Sequence[Tensor]) -> Tensor:
        """`(G, ..., H, D)` of the memories `(..., C)` that the maps are for."""
        pairs = zip(maps, memories, strict=True)
        return torch.stack([split_heads(proj(memory), self.num_heads) for proj, memory in pairs])

    def position_keys(self, num_entries: int, nearest: int = 1) -> Tensor | None:
        """`(t, D)`: the keys of t distances, down to `nearest`; None without relative positions.

        The distance 0, which nobody sees, has the key of 1.
        """
        if self.distance_keys is None:
            return None
        last = num_entries + nearest - 1
        distances = torch.arange(last, nearest - 1, -1, device=self.distance_keys.device)
        return key_of_distance(self.distance_keys, (distances - 1).clamp(min=0))

    def carry(
        self,
        states: Sequence[Tensor],
        padding_mask: Tensor | None,
        before: CarriedMemory | None,
        size: int,
        unrolled: bool = False,
    ) -> CarriedMemory:
        """The last `size` memories after a text, or fewer where there are not so many.

        Where there is padding, each row's are those of its words, standing to the right.

        Args:
            states: L + 1 tensors `(T, B, C)`, those of all layers at the text's positions.
            padding_mask: `(B, T)`, True at padding, or None.
            before: the memories before the text, or None.
            size: how many.
            unrolled: with their gradient history.
        """
        first = max(len(states[0]) - size, 0) if padding_mask is None else 0
        with torch.set_grad_enabled(unrolled and torch.is_grad_enabled()):
            # (G, T, B, H, D) -> (G, B, H, T, D)
            keys, values = (x.permute(0, 2, 3, 1, 4) for x in self([x[first:] for x in states]))
            new = CarriedMemory(keys, values, padding_mask)
            joined = new if before is None else before.followed_by(new)
            return joined.last_readable(size)

    def views(
        self, keys: Tensor, values: Tensor, padding_mask: Tensor | None
    ) -> Sequence[MemoryView]:
        """The last `span` entries of keys, values `(G, B, H, t, D)`, padding_mask `(B, t)`."""
        if self.span > 0:
            keys, values = keys[..., -self.span :, :], values[..., -self.span :, :]
            padding_mask = None if padding_mask is None else padding_mask[:, -self.span :]
        position_keys = self.position_keys(keys.size(-2))
        return [
            MemoryView(k, v, padding_mask, position_keys) for k, v in zip(keys, values, strict=True)
        ]


class MemoryTrace:
    """The past while training, with every entry in the autograd graph; plain, and O(T^2) copies.

    Args:
        memory: the parameters.
        like: `(B, C)`, for the batch size, dtype and device.
        past: the memories before the first position, or None.
    """

    def __init__(self, memory: FeedbackMemory, like: Tensor, past: CarriedMemory | None = None):
        self.memory = memory
        num_rows, embed_dim = like.shape
        head_dim = embed_dim // memory.num_heads
        shape = (len(memory.k_proj), num_rows, memory.num_heads, 0, head_dim)
        self._empty = like.new_zeros(shape)
        self._no_padding = like.new_zeros(num_rows, dtype=torch.bool)
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._padding: list[Tensor | None] = []
        if past is not None:
            keys, values = (x.type_as(like).unbind(3) for x in (past.keys, past.values))
            for entry in zip(keys, values, past.hidden_mask().unbind(1), strict=True):
                self.add_memory(*entry)

    def __len__(self) -> int:
        return len(self._keys)

    def views(self) -> Sequence[MemoryView]:
        if not self._keys:
            return self.memory.views(self._empty, self._empty, None)
        keys, values = torch.stack(self._keys, dim=3), torch.stack(self._values, dim=3)
        return self.memory.views(keys, values, self._padding_mask())

    def _padding_mask(self) -> Tensor | None:
        """`(B, t)`, or None where nothing is padding."""
        if all(padding is None for padding in self._padding):
            return None
        padding = [self._no_padding if x is None else x for x in self._padding]
        return torch.stack(padding, dim=1)

    def add_memory(self, keys: Tensor, values: Tensor, padding: Tensor | None) -> None:
        self._keys.append(keys)
        self._values.append(values)
        self._padding.append(padding)
