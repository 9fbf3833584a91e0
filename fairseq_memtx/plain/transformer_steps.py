"""What the Transformer's decoder does with a target (Vaswani et al. 2017), in evaluation.

Size legend: B sentences, N rows (B * beam in a search), T target positions, S source positions, C
model dimension, H heads, D = C / H.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..modules.cache import DecodingState, GrowingTensor
from ..modules.dropout import NO_MASKS
from ..modules.layer import DecoderLayer, LayerSizes
from .memory_steps import LayersOutput, MemorySteps
from .self_attention import Entries, SelfAttention


class TransformerLayer(DecoderLayer):
    """Self-attention, cross-attention and feed-forward."""

    self_attn: SelfAttention

    def __init__(self, sizes: LayerSizes):
        super().__init__(sizes, SelfAttention(sizes.embed_dim, sizes.num_heads))

    @property
    def activation_fn(self) -> Callable[[Tensor], Tensor]:
        """`activation`, by fairseq's name."""
        return self.activation

    def look_back(self, x: Tensor, seen: Callable[[Entries], Entries], hidden: Tensor | None):
        """x `(B, Q, C)` after self-attention, its residual sum and its norm.

        Args:
            x: the layer's input.
            seen: from the entries of x to all that are seen.
            hidden: see `SelfAttention`.
        """
        y = self._before(self.self_attn_layer_norm, x)
        y = self.self_attn(y, *seen(self.self_attn.entries(y)), hidden)
        return self._after(self.self_attn_layer_norm, x + y)


class Past:
    """Each layer's keys and values of the positions so far.

    Args:
        like: `(N, H, D)`, of one position.
        num_layers: how many there are.
    """

    def __init__(self, like: Tensor, num_layers: int):
        self.layers = [(GrowingTensor(like), GrowingTensor(like)) for _ in range(num_layers)]
        self._padding = GrowingTensor(like.new_empty(len(like), dtype=torch.bool))
        self._has_padding = False

    def begin_step(self, padding: Tensor | None) -> Tensor | None:
        """Add a position, padding `(N,)` or None; what is hidden `(N, 1, 1, t)`, or None."""
        self._has_padding |= padding is not None
        self._padding.add_position(False if padding is None else padding)
        return self._padding.filled().t()[:, None, None] if self._has_padding else None

    def add(self, layer: int, entries: Entries) -> Entries:
        """Add a position's entries `(N, H, 1, D)`; all of the layer's, `(N, H, t, D)`."""
        for grown, entry in zip(self.layers[layer], entries, strict=True):
            grown.add_position(entry.squeeze(2))
        # (t, N, H, D) -> (N, H, t, D)
        keys, values = (grown.filled().permute(1, 2, 0, 3) for grown in self.layers[layer])
        return keys, values

    def _all(self) -> list[GrowingTensor]:
        return [self._padding, *(grown for pair in self.layers for grown in pair)]

    def reorder(self, new_order: Tensor) -> None:
        """Row i becomes the old row `new_order[i]`."""
        for grown in self._all():
            grown.reorder(new_order)

    def size_bytes(self) -> int:
        """Bytes held."""
        return sum(grown.size_bytes() for grown in self._all())


class TransformerSteps(MemorySteps):
    """Layers that see all positions before, each through keys and values of its own."""

    def why_not_fused(self) -> str | None:
        return None

    def run_layers(self, x, source, padding_mask, align, **unused):
        length, sources = x.size(0), self.read_source(source)
        hidden = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        if padding_mask is not None:
            hidden = hidden | padding_mask[:, None, None]
        # (T, B, C) -> (B, T, C)
        x = x.transpose(0, 1)
        states, probs = [x], None
        for index, layer in enumerate(self.all_layers()):
            x = layer.look_back(x, lambda entries: entries, hidden)
            rows, found = layer.after_attention(
                x.flatten(0, 1), sources[index] if sources else None, NO_MASKS
            )
            x = rows.unflatten(0, x.shape[:2])
            states.append(x)
            probs = found if index == align else probs
        # (B, T, C) -> (T, B, C); (B * T, H, S) -> (H, B, T, S)
        probs = None if probs is None else probs.unflatten(0, x.shape[:2]).permute(2, 0, 1, 3)
        return LayersOutput([state.transpose(0, 1) for state in states], probs)

    def step_layers(self, x, state, padding, align):
        hidden = state.past.begin_step(padding)
        states, probs = [x], None
        for index, layer in enumerate(self.all_layers()):
            x = layer.look_back(x[:, None], partial(state.past.add, index), hidden)[:, 0]
            source = state.sources[index] if state.sources else None
            x, found = layer.after_attention(x, source, NO_MASKS)
            states.append(x)
            probs = found if index == align else probs
        # (N, C) -> (1, N, C); (N, H, S) -> (H, N, 1, S)
        probs = None if probs is None else probs.transpose(0, 1).unsqueeze(2)
        return LayersOutput([state[None] for state in states], probs)

    def new_state(self, x, source, beam_size, **unused):
        heads = self.all_layers()[0].self_attn.num_heads
        past = Past(x.new_empty(len(x), heads, x.size(1) // heads), self.num_layers)
        return DecodingState(past, self.read_source(source), beam_size)
