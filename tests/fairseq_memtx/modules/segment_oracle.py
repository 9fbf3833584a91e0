"""Segment attention and its memories written down a second time: lists, loops, one sentence.

From Dai et al. 2019 (arXiv 1901.02860, section 3.3) and Rae et al. 2019 (arXiv 1911.05507,
Algorithm 1). Nothing here is shared with the package but the weights.
"""

import math

import torch
from torch import Tensor

from fairseq_memtx.modules.compression import COMPRESSIONS
from fairseq_memtx.modules.relative_positions import LearnedRelativePositions, SinusoidalPositions
from fairseq_memtx.modules.segment_attention import SegmentAttention
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentLengths


def build_attention(
    dim: int = 8,
    heads: int = 2,
    compression: str | None = None,
    rate: int = 2,
    loss: str = "reconstruction",
    learned: int = 0,
    clamp_len: int = 0,
    seed: int = 1,
) -> SegmentAttention:
    """A float64 attention whose parameters are all random, biases too."""
    torch.manual_seed(seed)
    positions = (
        LearnedRelativePositions(dim // heads, learned)
        if learned
        else SinusoidalPositions(dim, heads, clamp_len)
    )
    function = COMPRESSIONS[compression](dim, rate) if compression else None
    attention = SegmentAttention(dim, heads, positions, function, loss).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


def linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    bias = 0 if layer.bias is None else layer.bias
    return layer.weight @ x + bias


class NaiveAttention:
    """Algorithm 1 for one layer and one sentence.

    Attributes:
        recent, compressed: lists of states `(C,)`.
        usage: attention that each recent state has received.
        probs: for each position so far, `(H, entries)`; in_view: how many of these are compressed,
            and how many recent.
    """

    def __init__(self, attention: SegmentAttention, lengths: SegmentLengths, norm=lambda x: x):
        self.attention, self.lengths, self.norm = attention, lengths, norm
        self.recent, self.compressed, self.usage = [], [], []
        self.lost = []  # (block, segment) at each compression
        self.probs, self.in_view = [], []

    def run(self, x: Tensor) -> Tensor:
        """x `(T, C)` -> `(T, C)`; the memories are left as they stand after the sentence."""
        outs, size = [], self.lengths.segment
        for start in range(0, len(x), size):
            segment = list(x[start : start + size])
            outs += self.attend(segment)
            self.update(segment)
        return torch.stack(outs)

    def attend(self, segment: list[Tensor]) -> list[Tensor]:
        a, past = self.attention, self.compressed + self.recent
        num_heads, received = a.num_heads, [0.0] * len(past)
        outs = []
        for i, x in enumerate(segment):
            seen = [self.norm(s) for s in past + segment[: i + 1]]
            first = 0
            if self.lengths.same_length:
                first = max(0, len(seen) - 1 - self.lengths.memory - self.lengths.compressed)
            query = linear(a.q_proj, self.norm(x)).view(num_heads, -1)
            heads, rows = [], []
            for h in range(num_heads):
                scores = [
                    self.score(query[h], h, seen[j], len(seen) - 1 - j)
                    for j in range(first, len(seen))
                ]
                probs = torch.stack(scores).softmax(dim=0)
                rows.append(probs)
                values = [linear(a.v_proj, s).view(num_heads, -1)[h] for s in seen[first:]]
                heads.append(sum(p * v for p, v in zip(probs, values, strict=True)))
                for j in range(first, len(past)):
                    received[j] += probs[j - first].item() / num_heads
            self.probs.append(torch.stack(rows))
            places = range(first, len(past))
            compressed = sum(1 for j in places if j < len(self.compressed))
            self.in_view.append((compressed, len(places) - compressed))
            outs.append(linear(a.out_proj, torch.cat(heads)))
        self.usage = [
            u + r for u, r in zip(self.usage, received[len(self.compressed) :], strict=True)
        ]
        return outs

    def score(self, q: Tensor, h: int, state: Tensor, distance: int) -> Tensor:
        """The four terms of A_ij, or the two of the learned variant."""
        a, positions = self.attention, self.attention.positions
        k = linear(a.k_proj, state).view(a.num_heads, -1)[h]
        if isinstance(positions, LearnedRelativePositions):
            table = positions.distance_keys
            return (q @ k + q @ table[min(distance, len(table) - 1)]) / math.sqrt(len(q))
        if positions.clamp_len > 0:
            distance = min(distance, positions.clamp_len)
        dim = len(state)
        angles = [distance / 10000 ** (2 * i / dim) for i in range(dim // 2)]
        sines = [math.sin(x) for x in angles] + [math.cos(x) for x in angles]
        r = linear(positions.r_proj, torch.tensor(sines, dtype=torch.float64))
        r = r.view(a.num_heads, -1)[h]
        u, v = positions.content_bias[h], positions.position_bias[h]
        return (q @ k + q @ r + u @ k + v @ r) / math.sqrt(len(q))

    def update(self, segment: list[Tensor]) -> None:
        """m' = [m ; h][-n_m:], cm' = [cm ; f_c(old)][-n_cm:]."""
        states, usage = self.recent + segment, self.usage + [0.0] * len(segment)
        gone = max(0, len(states) - self.lengths.memory)
        self.recent, self.usage = states[gone:], usage[gone:]
        if gone == 0 or self.attention.compression is None or self.lengths.compressed == 0:
            return
        # The block has a segment's length and its place in the text; what has not been there, and
        # what a sentence that ends within a segment leaves in the memory, does not exist.
        begin = len(states) - len(segment) - self.lengths.memory
        there = [0 <= i < gone for i in range(begin, begin + self.lengths.segment)]
        block = [states[begin + i] if real else None for i, real in enumerate(there)]
        used = [usage[begin + i] if real else 0.0 for i, real in enumerate(there)]
        self.lost.append((block, segment))
        self.compressed += naive_compress(self.attention.compression, block, used)
        self.compressed = self.compressed[-self.lengths.compressed :]


def naive_compress(function, block: list[Tensor | None], used: list[float]) -> list[Tensor]:
    """Each compression function on a list of states, None for one that does not exist."""
    kind = {v: k for k, v in COMPRESSIONS.items()}[type(function)]
    rate = function.rate
    if kind == "most-used":
        real = [i for i, s in enumerate(block) if s is not None]
        best = sorted(real, key=lambda i: (-used[i], i))[: len(block) // rate]
        return [block[i] for i in sorted(best)]
    result = []
    dim = next(s for s in block if s is not None).size(0)
    states = [torch.zeros(dim, dtype=torch.float64) if s is None else s for s in block]
    if kind == "dilated-conv":
        for conv, dilation in zip(function.dilated, (1, 2), strict=True):
            states = naive_dilated(conv, dilation, states, [s is not None for s in block])
    for start in range(0, len(block), rate):
        real = [s for s in block[start : start + rate] if s is not None]
        if not real:
            continue
        if kind == "max-pool":
            result.append(torch.stack([max(s[i] for s in real) for i in range(dim)]))
        elif kind == "mean-pool":
            result.append(sum(real) / len(real))
        else:
            weight = function.conv.weight  # (C, C, c)
            group = states[start : start + rate]
            result.append(function.conv.bias + sum(weight[:, :, i] @ group[i] for i in range(rate)))
    return result


def naive_dilated(conv, dilation: int, states: list[Tensor], real: list[bool]) -> list[Tensor]:
    out = []
    for i, state in enumerate(states):
        y = conv.bias
        for tap in range(3):
            j = i + (tap - 1) * dilation
            if 0 <= j < len(states):
                y = y + conv.weight[:, :, tap] @ states[j]
        out.append((state + y.relu()) if real[i] else torch.zeros_like(state))
    return out


def naive_reconstruction(naive: NaiveAttention) -> float:
    """sum over compressions of || attn(h, old_mem) - attn(h, f_c(old_mem)) ||_2 (Algorithm 2)."""
    total = 0.0
    for block, segment in naive.lost:
        old = [s for s in block if s is not None]
        new = naive_compress(naive.attention.compression, block, [0.0] * len(block))
        squares = 0.0
        for h in segment:
            for head in range(naive.attention.num_heads):
                change = content_attention(naive, h, old, head) - content_attention(
                    naive, h, new, head
                )
                squares += sum(value.item() ** 2 for value in change)
        total += math.sqrt(squares)
    return total


def content_attention(naive: NaiveAttention, x: Tensor, states: list[Tensor], h: int) -> Tensor:
    """Of one query and head, without positions."""
    a = naive.attention

    def project(layer: torch.nn.Linear, state: Tensor) -> Tensor:
        return linear(layer, naive.norm(state)).view(a.num_heads, -1)[h]

    query = project(a.q_proj, x)
    scores = [query @ project(a.k_proj, s) / math.sqrt(len(query)) for s in states]
    probs = torch.stack(scores).softmax(dim=0)
    return sum(p * project(a.v_proj, s) for p, s in zip(probs, states, strict=True))


def naive_auto_encoding(naive: NaiveAttention) -> float:
    """sum over compressions of || old_mem - g(f_c(old_mem)) ||_2, g linear for each state."""
    function, expand = naive.attention.compression, naive.attention.rebuild.expand
    total, rate = 0.0, function.rate
    for block, _ in naive.lost:
        new = iter(naive_compress(function, block, [0.0] * len(block)))
        squares = 0.0
        for start in range(0, len(block), rate):
            group = block[start : start + rate]
            if all(s is None for s in group):
                continue
            rebuilt = linear(expand, next(new)).view(rate, -1)
            for old, made in zip(group, rebuilt, strict=True):
                if old is not None:
                    squares += sum(value.item() ** 2 for value in old - made)
        total += math.sqrt(squares)
    return total


def memory_of(naive: list[NaiveAttention]) -> LayerMemory:
    """The memories of several sentences as one `LayerMemory`, right-aligned."""
    dim = naive[0].attention.q_proj.weight.size(0)

    def stack(rows: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        size = max(len(row) for row in rows)
        out = torch.zeros(len(rows), size, dim, dtype=torch.float64)
        hidden = torch.ones(len(rows), size, dtype=torch.bool)
        for b, row in enumerate(rows):
            if row:
                out[b, size - len(row) :] = torch.stack(row).detach()
                hidden[b, size - len(row) :] = False
        return out, hidden

    recent, recent_hidden = stack([n.recent for n in naive])
    compressed, compressed_hidden = stack([n.compressed for n in naive])
    usage = torch.zeros(recent.shape[:2], dtype=torch.float64)
    for b, n in enumerate(naive):
        if n.usage:
            usage[b, recent.size(1) - len(n.usage) :] = torch.tensor(n.usage, dtype=torch.float64)
    return LayerMemory(recent, compressed, recent_hidden, compressed_hidden, usage)
