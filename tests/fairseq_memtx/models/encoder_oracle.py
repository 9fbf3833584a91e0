"""The encoder with a memory written down a second time: lists, loops, one sentence at a time.

The layers are those of Vaswani et al. 2017; attention has the four terms of Transformer-XL (Dai et
al. 2019, arXiv 1901.02860, section 3.3) with words on both sides (Yang et al. 2019, arXiv
1906.08237). Nothing here is shared with the package but the weights.
"""

import math
from typing import Any

import torch
from torch import Tensor

from tests.fairseq_memtx.models.feedback_oracle import affine, layer_norm


class PlainEncoder:
    """The encoder over one document.

    Args:
        encoder: whose weights are read.
        size: states of each layer that are remembered.
        unrolled: gradients go back through them.
    """

    def __init__(self, encoder: Any, size: int, unrolled: bool = False):
        self.weights, self.size, self.unrolled = dict(encoder.named_parameters()), size, unrolled
        self.scale, cfg = encoder.embed_scale, encoder.cfg.encoder
        self.pre_norm, self.heads = cfg.normalize_before, cfg.attention_heads
        self.memory: list[list[Tensor]] = [[] for _ in range(cfg.layers)]

    def read(self, words: Tensor) -> Tensor:
        """The output `(S, C)` for the next sentence, words `(S,)` without padding."""
        states = [self.scale * self.weights["embed_tokens.weight"][word] for word in words]
        for layer, memory in enumerate(self.memory):
            now = states
            states = self.layer(f"layers.{layer}", states, memory)
            self.memory[layer] = (memory + now)[-self.size :]
        if self.pre_norm:
            states = [layer_norm(self.weights, "layer_norm", x) for x in states]
        return torch.stack(states)

    def forget_history(self) -> None:
        self.memory = [[x.detach() for x in states] for states in self.memory]

    def layer(self, name: str, states: list[Tensor], memory: list[Tensor]) -> list[Tensor]:
        attended = self.attend(name, states, memory)
        found = []
        for x, context in zip(states, attended, strict=True):
            x = self.after(f"{name}.self_attn_layer_norm", x + context)
            y = self.before(f"{name}.final_layer_norm", x)
            y = affine(self.weights, f"{name}.fc1", y).relu()
            y = affine(self.weights, f"{name}.fc2", y)
            found.append(self.after(f"{name}.final_layer_norm", x + y))
        return found

    def attend(self, name: str, states: list[Tensor], memory: list[Tensor]) -> list[Tensor]:
        norm = f"{name}.self_attn_layer_norm"
        past = [self.before(norm, x) for x in memory]
        own = [self.before(norm, x) for x in states]
        # behind the stop-gradient, the norm's parameters included
        seen = (past if self.unrolled else [x.detach() for x in past]) + own
        contexts = []
        for place, x in enumerate(own, len(past)):
            rows = []
            for head in range(self.heads):
                scores = [
                    self.score(f"{name}.self_attn", head, x, key, place - other)
                    for other, key in enumerate(seen)
                ]
                probs = torch.stack(scores).softmax(dim=0)
                values = [self.head(f"{name}.self_attn.v_proj", head, key) for key in seen]
                rows.append(sum(p * v for p, v in zip(probs, values, strict=True)))
            contexts.append(affine(self.weights, f"{name}.self_attn.out_proj", torch.cat(rows)))
        return contexts

    def score(self, name: str, head: int, x: Tensor, key: Tensor, distance: int) -> Tensor:
        q, k = self.head(f"{name}.q_proj", head, x), self.head(f"{name}.k_proj", head, key)
        angles = [distance / 10000 ** (2 * i / len(x)) for i in range(len(x) // 2)]
        sines = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        r = self.weights[f"{name}.positions.r_proj.weight"] @ x.new_tensor(sines)
        r = r.view(self.heads, -1)[head]
        u, v = (
            self.weights[f"{name}.positions.{kind}_bias"][head] for kind in ("content", "position")
        )
        return (q @ k + q @ r + u @ k + v @ r) / math.sqrt(len(q))

    def head(self, name: str, head: int, x: Tensor) -> Tensor:
        return affine(self.weights, name, x).view(self.heads, -1)[head]

    def before(self, name: str, x: Tensor) -> Tensor:
        return layer_norm(self.weights, name, x) if self.pre_norm else x

    def after(self, name: str, x: Tensor) -> Tensor:
        return x if self.pre_norm else layer_norm(self.weights, name, x)
