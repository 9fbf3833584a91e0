"""Naive oracles: the papers' equations as Python loops, sharing no code with the package.

They read the weights of a module by their names, and are slow and plain on purpose. Every loop body
is differentiable, so that autograd through an oracle gives the oracle of the gradients.

The Feedback decoder (Fan et al. 2020, arXiv 2002.09402, section 3), for one sentence:

    (1)  x_t^0     = the embedding of position t
    (2)  z_t^l     = x_t^l + O_l Attn(Q_l x_t^l, { m_j : t - tau <= j < t, j no padding })
    (3)  c_t^l     = z_t^l + O'_l Attn(Q'_l z_t^l, { e_s : s no padding })
    (4)  x_t^{l+1} = c_t^l + W2_l act(W1_l c_t^l)
    (5)  m_t       = sum_{l=0..L} p_l x_t^l,  p = softmax(w), or fixed
    (6)  k_t       = W_k m_t,  v_t = W_v m_t   (one W_k, W_v for all layers, or one for each)
    (5c) with K channels an m_t, and p, of each; layer l reads channel l mod K, and in (6) there is
         one W_k, W_v for each channel, or for each layer
    (5r) routed: p = softmax(w + W [x_t^0 .. x_t^L] / sqrt((L + 1) C)), another one at every t
    (7)  Attn(q, M) = sum_j a_j v_j,  a = softmax_j((q . k_j + q . r_{t-j}) / sqrt(D)), zero over
                      the empty set; r is the learned key of a distance, the last one serving all
                      larger distances (only where relative positions are used)
    (8)  post-norm: a layer norm after the sum in (2), (3), (4);
         pre-norm: before Q_l, Q'_l, W1_l instead, and one for m_t before W_k, W_v in (6)

Size legend: T target positions, B sentences, S source positions, C model dimension, H heads, D head
dimension, L layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Mask = Tensor | None

#: How near an oracle has to be.
EXACT = {"rtol": 1e-9, "atol": 1e-11}
#: The mixtures that are not learned, of two layers.
FIXED_PROBS = {"mean": [1 / 3, 1 / 3, 1 / 3], "first": [1, 0, 0], "last": [0, 0, 1], "1": [0, 1, 0]}


def affine(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """W x + b for one vector."""
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def layer_norm(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Layer norm of one vector (Ba et al. 2016), epsilon 1e-5."""
    centred = x - x.mean()
    unit = centred / ((centred * centred).mean() + 1e-5).sqrt()
    return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    distance_keys: Sequence[Tensor] | None = None,
    mask: Sequence[Tensor] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Equation (7) for one head: the context and its probabilities."""
    if not keys:
        return torch.zeros_like(query), []
    scores = [query @ key for key in keys]
    if distance_keys is not None:
        scores = [s + query @ r for s, r in zip(scores, distance_keys, strict=True)]
    scores = [s / query.numel() ** 0.5 for s in scores]
    largest = max(s.detach() for s in scores)
    exps = [(s - largest).exp() for s in scores]
    probs = [e / sum(exps) for e in exps]
    kept = probs if mask is None else [p * m for p, m in zip(probs, mask, strict=True)]
    return sum(p * v for p, v in zip(kept, values, strict=True)), probs


@dataclass
class NaiveFeedback:
    """The Feedback decoder's recurrence.

    Attributes:
        weights: parameters by the decoder's names (`layers.0.fc1.weight`).
        num_layers, num_heads: L and H.
        pre_norm: equation (8).
        probs: the mixture's fixed `(L + 1,)`, or None for softmax over `memory.mixture.weight`.
        routed: equation (5r).
        channels: K of equation (5c).
        shared_kv: equation (6).
        span: tau; 0 means no bound.
        activation: act of equation (4).
        cross: whether equation (3) applies.
        left_out: layers that pass their state on unchanged (layer drop).
        memory_probs: after a run, for sentence b, position t and layer l the probabilities of
            equation (2), `[b][t][l]` `(H, view)`.
    """

    weights: Mapping[str, Tensor]
    num_layers: int
    num_heads: int
    pre_norm: bool = False
    probs: Tensor | None = None
    routed: bool = False
    channels: int = 1
    shared_kv: bool = True
    span: int = 0
    activation: Callable[[Tensor], Tensor] = torch.relu
    cross: bool = True
    left_out: frozenset[int] = field(default_factory=frozenset)
    memory_probs: list[list[list[Tensor]]] = field(default_factory=list)

    def run(
        self,
        inputs: Tensor,
        source: Tensor | None = None,
        source_padding: Mask = None,
        target_padding: Mask = None,
        masks: Sequence[Mapping[str, Mask]] | None = None,
    ) -> tuple[Tensor, list[list[list[Tensor]]]]:
        """All sentences.

        Args:
            inputs: `(T, B, C)`, equation (1).
            source: `(S, B, C_enc)`, source_padding `(B, S)`, target_padding `(B, T)`.
            masks: for each layer, the dropout masks by the names of `LayerMasks`.

        Returns:
            The states `(L + 1, T, B, C)`, and the cross-attention: for sentence b, position t and
            layer l, the entry `[b][t][l]` is `(H, S)`.
        """
        sentences, cross_probs = [], []
        for b in range(inputs.size(1)):
            sentence = _Sentence(self, b, source, source_padding, target_padding, masks)
            states = [sentence.step(t, x) for t, x in enumerate(inputs[:, b])]
            sentences.append(torch.stack([torch.stack(s) for s in states], dim=1))
            cross_probs.append(sentence.cross_probs)
            self.memory_probs.append(sentence.memory_probs)
        return torch.stack(sentences, dim=2), cross_probs

    def norm_before(self, name: str, x: Tensor) -> Tensor:
        return layer_norm(self.weights, name, x) if self.pre_norm else x

    def norm_after(self, name: str, x: Tensor) -> Tensor:
        return x if self.pre_norm else layer_norm(self.weights, name, x)

    def mixture(self, channel: int, states: Sequence[Tensor]) -> Tensor:
        if self.probs is not None:
            return self.probs
        scores = self.weights["memory.mixture.weight"].view(self.channels, -1)[channel]
        if self.routed:
            x, router = torch.cat(list(states)), self.weights["memory.mixture.router"]
            rows = router[channel * len(states) : (channel + 1) * len(states)]
            scores = scores + torch.stack([row @ x for row in rows]) / len(x) ** 0.5
        exps = scores.exp()
        return exps / exps.sum()

    def pair(self, index: int) -> int:
        """Whose keys and values layer `index` reads."""
        return index % self.channels if self.shared_kv else index


class _Sentence:
    """The recurrence over one sentence; `keys[g][j]`, `values[g][j]` are `(C,)`."""

    def __init__(self, model, b, source, source_padding, target_padding, masks):
        self.model, self.b, self.masks = model, b, masks
        self.is_padding = lambda t: target_padding is not None and bool(target_padding[b, t])
        self.source = None
        if source is not None and model.cross:
            self.source = list(source[:, b])
            self.source_kept = [
                s
                for s in range(source.size(0))
                if source_padding is None or not bool(source_padding[b, s])
            ]
        num_kv = model.channels if model.shared_kv else model.num_layers
        self.keys: list[list[Tensor]] = [[] for _ in range(num_kv)]
        self.values: list[list[Tensor]] = [[] for _ in range(num_kv)]
        self.cross_probs: list[list[Tensor | None]] = []
        self.memory_probs: list[list[Tensor]] = []

    def step(self, t: int, x: Tensor) -> list[Tensor]:
        """Position t, whose embedding is x `(C,)`: the states x^0 .. x^L."""
        states = [x]
        self.cross_probs.append([])
        self.memory_probs.append([])
        for index in range(self.model.num_layers):
            if index not in self.model.left_out:
                x = self.layer(t, index, x)
            else:
                self.cross_probs[-1].append(None)
            states.append(x)
        self.remember(states)
        return states

    def remember(self, states: Sequence[Tensor]) -> None:
        """Equations (5), (6) and the norm of (8)."""
        model = self.model
        for g in range(len(self.keys)):
            probs = model.mixture(g % model.channels, states)
            memory = sum(p * x for p, x in zip(probs, states, strict=True))
            memory = model.norm_before("memory.layer_norm", memory)
            self.keys[g].append(affine(model.weights, f"memory.k_proj.{g}", memory))
            self.values[g].append(affine(model.weights, f"memory.v_proj.{g}", memory))

    def layer(self, t: int, index: int, x: Tensor) -> Tensor:
        """Equations (2), (3), (4)."""
        model, name = self.model, f"layers.{index}"
        y = self.attend_memory(t, index, model.norm_before(f"{name}.self_attn_layer_norm", x))
        x = x + self.drop(
            index, "memory_out", t, affine(model.weights, f"{name}.self_attn.out_proj", y)
        )
        x = model.norm_after(f"{name}.self_attn_layer_norm", x)
        if self.source is None:
            self.cross_probs[-1].append(None)
        else:
            y = model.norm_before(f"{name}.encoder_attn_layer_norm", x)
            y = affine(
                model.weights, f"{name}.encoder_attn.out_proj", self.attend_source(t, index, y)
            )
            x = x + self.drop(index, "cross_out", t, y)
            x = model.norm_after(f"{name}.encoder_attn_layer_norm", x)
        y = affine(model.weights, f"{name}.fc1", model.norm_before(f"{name}.final_layer_norm", x))
        y = self.drop(index, "activation", t, model.activation(y))
        y = self.drop(index, "ffn_out", t, affine(model.weights, f"{name}.fc2", y))
        return model.norm_after(f"{name}.final_layer_norm", x + y)

    def attend_memory(self, t: int, index: int, x: Tensor) -> Tensor:
        model, g = self.model, self.model.pair(index)
        query = affine(model.weights, f"layers.{index}.self_attn.q_proj", x)
        first = 0 if model.span == 0 else max(0, t - model.span)
        view = [j for j in range(first, t) if not self.is_padding(j)]
        distances = None
        if "memory.distance_keys" in model.weights:
            table = model.weights["memory.distance_keys"]
            distances = [table[min(t - j, table.size(0)) - 1] for j in view]
        contexts, rows = [], []
        for h, part in enumerate(self.heads()):
            keys, values = ([kv[g][j][part] for j in view] for kv in (self.keys, self.values))
            mask = self.mask(index, "memory_probs", t)
            mask = None if mask is None else [mask[h, j] for j in view]
            context, probs = attention(query[part], keys, values, distances, mask)
            contexts.append(context)
            rows.append(torch.stack(probs) if probs else x.new_zeros(0))
        self.memory_probs[-1].append(torch.stack(rows))
        return torch.cat(contexts)

    def attend_source(self, t: int, index: int, x: Tensor) -> Tensor:
        model, name = self.model, f"layers.{index}.encoder_attn"
        query = affine(model.weights, f"{name}.q_proj", x)
        keys = {
            s: affine(model.weights, f"{name}.k_proj", self.source[s]) for s in self.source_kept
        }
        values = {
            s: affine(model.weights, f"{name}.v_proj", self.source[s]) for s in self.source_kept
        }
        contexts, rows = [], []
        for h, part in enumerate(self.heads()):
            mask = self.mask(index, "cross_probs", t)
            mask = None if mask is None else [mask[h, s] for s in self.source_kept]
            context, probs = attention(
                query[part],
                [k[part] for k in keys.values()],
                [v[part] for v in values.values()],
                mask=mask,
            )
            contexts.append(context)
            by_position = dict(zip(self.source_kept, probs, strict=True))
            nothing = x.new_zeros(())
            rows.append(torch.stack([by_position.get(s, nothing) for s in range(len(self.source))]))
        self.cross_probs[-1].append(torch.stack(rows))
        return torch.cat(contexts)

    def heads(self) -> list[slice]:
        size = self.model.weights["memory.k_proj.0.weight"].size(0) // self.model.num_heads
        return [slice(h * size, (h + 1) * size) for h in range(self.model.num_heads)]

    def mask(self, index: int, name: str, t: int) -> Mask:
        mask = None if self.masks is None else self.masks[index][name]
        return None if mask is None else mask[t, self.b]

    def drop(self, index: int, name: str, t: int, x: Tensor) -> Tensor:
        mask = self.mask(index, name, t)
        return x if mask is None else x * mask


def embed_target(
    weights: Mapping[str, Tensor],
    tokens: Tensor,
    padding_idx: int,
    *,
    positions: str | None,
    max_positions: int = 64,
) -> Tensor:
    """Equation (1): sqrt(C) E[y_t] + p_t `(T, B, C)`, positions counted over real tokens only.

    Args:
        tokens: `(B, T)`.
        positions: "learned", "sinusoidal" (Vaswani et al. 2017, section 3.5, in tensor2tensor's
            layout: all sines, then all cosines), or None.
    """
    table = weights["embed_tokens.weight"]
    dim, rows = table.size(1), []
    for sentence in tokens.tolist():
        position, row = 0, []
        for token in sentence:
            x = dim**0.5 * table[token]
            if token == padding_idx:
                x = x.detach()  # as torch's embeddings do
            if token != padding_idx:
                position += 1
                if positions == "learned":
                    x = x + weights["embed_positions.weight"][padding_idx + position]
                elif positions == "sinusoidal":
                    half = torch.arange(dim // 2, dtype=x.dtype)
                    angle = (padding_idx + position) * 10000.0 ** (-half / (dim // 2 - 1))
                    x = x + torch.cat([angle.sin(), angle.cos()])
            row.append(x)
        rows.append(torch.stack(row))
    return torch.stack(rows, dim=1)


def naive(decoder: Any, **changes: Any) -> NaiveFeedback:
    """The oracle of a decoder with two layers, or with the learned mixture."""
    cfg, options = decoder.cfg, decoder.options
    fixed = FIXED_PROBS.get(options.memory_mixture)
    arguments = {
        "weights": dict(decoder.named_parameters()),
        "num_layers": cfg.decoder.layers,
        "num_heads": cfg.decoder.attention_heads,
        "pre_norm": cfg.decoder.normalize_before,
        "probs": None if fixed is None else torch.tensor(fixed, dtype=torch.float64),
        "routed": options.memory_mixture == "routed",
        "channels": options.memory_channels,
        "shared_kv": options.memory_kv == "shared",
        "span": options.memory_span,
        "activation": getattr(torch, cfg.activation_fn),
        "cross": not cfg.no_cross_attention,
    }
    return NaiveFeedback(**{**arguments, **changes})


def same_values_and_gradients(
    found: list[list[Tensor]], wanted: list[list[Tensor]], leaves: dict[str, Tensor]
) -> None:
    """Rows of batches are equal, and so are the gradients of a random sum of them in every leaf."""
    loss = expected = torch.zeros((), dtype=torch.float64)
    for got_rows, want_rows in zip(found, wanted, strict=True):
        for got, want in zip(got_rows, want_rows, strict=True):
            torch.testing.assert_close(got, want, **EXACT)
            weight = torch.randn_like(got)
            loss, expected = loss + (weight * got).sum(), expected + (weight * want).sum()
    same_gradients(loss, expected, leaves)


def same_gradients(loss: Tensor, expected: Tensor, leaves: dict[str, Tensor]) -> None:
    """The two losses have the same gradient in every leaf; none counts as zero."""
    got = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    want = torch.autograd.grad(expected, list(leaves.values()), allow_unused=True)
    for (name, leaf), a, b in zip(leaves.items(), got, want, strict=True):
        a, b = (torch.zeros_like(leaf) if x is None else x for x in (a, b))
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}", **EXACT)
