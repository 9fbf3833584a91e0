"""Steps of the Transformer, Feedback and Transformer-XL decoders, in as few operations as it takes.

Projections of the same input are one product, scales are part of weights, residual sums part of
the products; the source's keys and values are made once a sentence, in one product for all layers;
the past lies in a `BeamCache`. The decoders are read by the names of their parameters, which are
the same in both; what they compute is what their own forward passes compute, up to rounding.

Size legend: B sentences, R rows a sentence, N = B * R, C model dimension, H heads, D = C / H, S
source positions, s slots of the past, L layers, V vocabulary.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modules.activations import activation_of
from ..modules.stream_memory import Memory
from .beam_cache import BeamCache
from .fused_memory import FusedMemory
from .fused_parts import ByDistance, PastCache, SourceCache, attend, normed
from .fused_segments import FusedSegments, scaled_bias
from .linear import FrozenLinear, select_outputs


class FusedLayer:
    """A decoder layer ready for many steps.

    Args:
        layer: fairseq's or ours.
        own_past: whether it projects keys and values of its past itself, from its input.
    """

    def __init__(self, layer: Any, own_past: bool):
        attn, cross = layer.self_attn, layer.encoder_attn
        self.pre_norm = layer.normalize_before
        self.own_past = own_past
        maps = [attn.q_proj, attn.k_proj, attn.v_proj] if own_past else [attn.q_proj]
        self.inputs = FrozenLinear(maps, scale=attn.scaling, shift=scaled_bias(attn))
        self.out = FrozenLinear([attn.out_proj])
        self.norm = layer.self_attn_layer_norm
        self.cross_query = FrozenLinear([cross.q_proj], scale=cross.scaling)
        self.cross_out = FrozenLinear([cross.out_proj])
        self.cross_norm = layer.encoder_attn_layer_norm
        activation = activation_of(layer)
        self.activation = None if activation is F.relu else activation
        self.fc1 = FrozenLinear([layer.fc1], relu=activation is F.relu)
        self.fc2 = FrozenLinear([layer.fc2])
        self.final_norm = layer.final_layer_norm

    def run_position(
        self,
        x: Tensor,
        past: PastCache,
        kind: int,
        source: SourceCache,
        layer: int,
        by_distance: ByDistance | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One position: x `(N, C)` to the layer's output and its attention `(B, H, R, S)`.

        The past's keys and values are of the kinds `kind` and `kind + 1`.
        """
        context = self._look_back(normed(self.norm, x, self.pre_norm), past, kind, by_distance)
        x = normed(self.norm, self.out.add(context, x), not self.pre_norm)
        query = self.cross_query(normed(self.cross_norm, x, self.pre_norm))
        context, probs = attend(query, *source.read(layer), source.bias)
        x = normed(self.cross_norm, self.cross_out.add(context, x), not self.pre_norm)
        y = self.fc1(normed(self.final_norm, x, self.pre_norm))
        y = y if self.activation is None else self.activation(y)
        return normed(self.final_norm, self.fc2.add(y, x), not self.pre_norm), probs

    def _look_back(
        self, y: Tensor, past: PastCache, kind: int, by_distance: ByDistance | None
    ) -> Tensor:
        """The context `(N, C)` of the past for the layer's input y `(N, C)`."""
        query, dim = self.inputs(y), y.size(1)
        if self.own_past:
            past.write(kind, query[:, dim:].unflatten(1, (2, dim)))
            query = query[:, :dim]
        elif past.length == 0:
            return torch.zeros_like(y)
        return attend(query, past.read(kind), past.read(kind + 1), past.bias, by_distance)[0]


def log_softmax_in_place(logits: Tensor) -> Tensor:
    """Log-probabilities in float32 of logits `(N, V)`, which are not needed afterwards.

    Two such large tensors at a time are given back to the system and taken again at every step,
    which takes three to ten times as long as computing them.
    """
    if logits.device.type != "cpu" or logits.dtype != torch.float32:
        return logits.log_softmax(-1, dtype=torch.float32)
    return torch.ops.aten._log_softmax.out(logits, -1, False, out=logits)


class FusedDecoder:
    """A decoder ready for many steps; it holds copies of its weights as they are now.

    Args:
        decoder: fairseq's Transformer decoder, or ours with the Feedback memory or with segments.
    """

    def __init__(self, decoder: Any):
        self.decoder = decoder
        memory = getattr(decoder, "memory", None)
        self.memory = None if memory is None else FusedMemory(memory)
        self.segments = FusedSegments(decoder) if hasattr(decoder, "lengths") else None
        layers = list(decoder.layers)
        self.layers = [FusedLayer(layer, own_past=memory is None) for layer in layers]
        attentions = [layer.encoder_attn for layer in layers]
        self.num_heads = attentions[0].num_heads
        self.source = FrozenLinear([p for attn in attentions for p in (attn.k_proj, attn.v_proj)])
        self.output = None
        if decoder.adaptive_softmax is None:
            self.output = FrozenLinear([decoder.output_projection])
        self._positions: Tensor | None = None

    def begin_search(
        self,
        encoder_out: Tensor,
        padding_mask: Tensor | None,
        beam_size: int,
        memory: Memory | None = None,
    ) -> "FusedState":
        """The state before the first position, for encoder_out `(S, B, C)`, mask `(B, S)`.

        `memory` is of the text before each sentence, as much of it as is in reach of the first
        position; None for none.
        """
        source = self.look_at(encoder_out, padding_mask)
        _, sentences, heads, _, head_dim = source.entries.shape
        like = source.entries.new_empty((sentences, heads * head_dim))
        past = BeamCache(self.kinds, like, heads, beam_size, counts=self.looks_at_distances)
        by_distance = self.memory or self.segments
        if memory is not None and by_distance is not None:
            past.begin_after(*by_distance.entries_of(memory))
        return FusedState(self, source, past)

    @property
    def looks_at_distances(self) -> bool:
        """Whether the past is read by how far back it lies."""
        return self.segments is not None or (
            self.memory is not None and self.memory.looks_at_distances
        )

    def look_at(self, encoder_out: Tensor, padding_mask: Tensor | None) -> SourceCache:
        """The source's keys and values; arguments as those of `begin_search`."""
        length, sentences, _ = encoder_out.shape
        entries = self.source(encoder_out.flatten(0, 1))
        # (S * B, 2L * C) -> (2L, B, H, S, D)
        shape = (length, sentences, 2 * len(self.layers), self.num_heads, -1)
        entries = entries.view(shape).permute(2, 1, 3, 0, 4).contiguous()
        if padding_mask is not None and not bool(padding_mask.any()):
            padding_mask = None
        return SourceCache(entries, padding_mask)

    @property
    def kinds(self) -> int:
        """Keys and values of the past, for each layer or for all."""
        return 2 * len(self.layers) if self.memory is None else self.memory.kinds

    def for_words(self, words: Tensor) -> "FusedDecoder":
        """The same decoder, whose log-probabilities are of the words `(n,)` alone."""
        assert self.output is not None, "an adaptive softmax has no row for each word"
        other = copy.copy(self)
        other.output = FrozenLinear([select_outputs(self.decoder.output_projection, words)])
        return other

    def embed(self, tokens: Tensor, position: Tensor | float) -> Tensor:
        """Tokens `(N,)` with what stands for their position, `(C,)`: `(N, C)`."""
        decoder = self.decoder
        x = F.embedding(tokens, decoder.embed_tokens.weight)
        if decoder.project_in_dim is not None:
            x = decoder.project_in_dim(decoder.embed_scale * x)
            x = x + position
        elif decoder.embed_positions is None:
            x = decoder.embed_scale * x
        else:
            x = torch.add(position, x, alpha=decoder.embed_scale)
        norm = decoder.layernorm_embedding
        return x if norm is None else norm(x)

    def positions(self, count: int) -> Tensor | None:
        """What stands for the first positions, `(count, C)`; None for nothing."""
        embed = self.decoder.embed_positions
        if embed is None:
            return None
        if self._positions is None or len(self._positions) < count:
            room = max(count, min(2 * count, self.decoder.max_positions()))
            words = torch.full((1, room), self.decoder.padding_idx + 1, device=self.device)
            self._positions = embed(words)[0].detach()
        return self._positions[:count]

    def run_position(
        self, x: Tensor, past: PastCache, source: SourceCache
    ) -> tuple[Tensor, Tensor]:
        """One position, its embedded words x `(N, C)`: see `FusedState.features`."""
        states, rows = [x], len(x) // past.num_sentences
        by_distance: list[ByDistance | None] = [None] * len(self.layers)
        if self.memory is None:
            past.open(rows)
            if self.segments is not None:
                by_distance = self.segments.look_over(past)
        else:
            by_distance = [self.memory.look_over(past)] * len(self.layers)
        for index, layer in enumerate(self.layers):
            kind = 2 * index if self.memory is None else self.memory.kind_of_layer[index]
            x, probs = layer.run_position(x, past, kind, source, index, by_distance[index])
            states.append(x)
        if self.memory is not None:
            past.open(rows)
            past.write(0, self.memory(states))
        return self.finish(x), probs

    @property
    def device(self) -> torch.device:
        return self.decoder.embed_tokens.weight.device

    def finish(self, x: Tensor) -> Tensor:
        """The last state `(N, C)` to features `(N, C_out)`."""
        decoder = self.decoder
        x = x if decoder.layer_norm is None else normed(decoder.layer_norm, x, True)
        return x if decoder.project_out_dim is None else decoder.project_out_dim(x)

    def log_probs(self, features: Tensor, temperature: float) -> Tensor:
        """Log-probabilities `(N, V)` of the next word, in float32."""
        if self.output is None:
            features = features / temperature  # as fairseq does
            found = self.decoder.adaptive_softmax.get_log_prob(features.unsqueeze(1), None)
            return found.squeeze(1).float()
        logits = self.output(features)
        logits = logits if temperature == 1.0 else logits.div_(temperature)
        return log_softmax_in_place(logits)


class FusedState:
    """One search with a `FusedDecoder`: the state, and the step that changes it."""

    def __init__(self, weights: FusedDecoder, source: SourceCache, past: BeamCache):
        self.weights, self.source, self.past = weights, source, past
        self.position = 0

    def features(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Feed words `(N,)`: features `(N, C)` and the last layer's attention `(B, H, R, S)`."""
        self.position += 1
        positions = self.weights.positions(self.position)
        x = self.weights.embed(tokens, 0.0 if positions is None else positions[-1])
        return self.weights.run_position(x, self.past, self.source)

    def move(self, parents: Tensor, kept: Tensor | None) -> None:
        """Let the state follow the beams; see `beam_search.Move`."""
        self.past.move(parents, kept)
        self.source.move(kept)

    def size_bytes(self) -> int:
        """Bytes of the past and of the source's keys and values."""
        return self.past.size_bytes() + self.source.size_bytes()
