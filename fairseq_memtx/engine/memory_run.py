"""The memory of a run: mixes the states of a position, projects them, and takes gradients back.

Fan et al. 2020 (arXiv 2002.09402), section 3: m_t = sum_l w_l x_t^l, k_t = W_k m_t, v_t = W_v m_t,
for each of one or several channels. `mixture_run` has the sum.

Size legend: T target positions, P carried memories before them, B sentences, C model dimension,
G pairs of projections, H heads, D = C / H.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..modules.carried_memory import CarriedMemory
from .gemm import Projection
from .gradients import GradientSums, Weights
from .memory_reads import MemoryReads, Windows
from .mixture_run import MixtureRun
from .norm import Norm
from .tape import Tape


class Group(NamedTuple):
    """A pair of projections that is read.

    Attributes:
        pair: its number.
        readers: how many layers read its keys and values.
        channel: the number of the channel that it projects.
    """

    pair: int
    readers: int
    channel: int


class ChannelRun:
    """One channel's memories to its keys and values: all of its pairs in one product.

    Args:
        weights: `k_proj.G.weight` and so on.
        pairs: those that are read.
        dtype: of products.
        tape: for the number of positions.
    """

    def __init__(self, weights: Weights, pairs: Sequence[int], dtype: torch.dtype, tape: Tape):
        self.names = [f"{kind}_proj.{pair}" for pair in pairs for kind in "kv"]
        weight = torch.cat([weights[f"{name}.weight"] for name in self.names])
        bias = torch.cat([weights[f"{name}.bias"] for name in self.names])
        self.project = Projection(weight, bias, dtype, tape.num_steps, backward=tape.keep)

    def forward(self, memory: Tensor, entries: Tensor) -> None:
        """Write the entries `(2G, B, C)` of its pairs from the memory `(B, C)`."""
        # (B, 2G C) -> (2G, B, C)
        projected = self.project(memory).view(len(memory), len(self.names), -1)
        entries.copy_(projected.transpose(0, 1))

    def start_backward(self, tape: Tape, entries: Tensor) -> None:
        """Make the buffer of the backward; entries `(..., B, C)`."""
        *_, rows, dim = entries.shape
        self.grads = tape.chunk_slots(rows, len(self.names) * dim, like=entries)

    def back(self, t: int, pairs: Sequence[Tensor]) -> Tensor:
        """The gradient of the memory `(B, C)` from those of keys and values in turn."""
        for part, grad in zip(self._parts(self.grads[t]), pairs, strict=True):
            part.copy_(grad.reshape(part.shape))
        return self.project.back(self.grads[t])

    def add_gradients(self, chunk: range, inputs: Tensor, sums: GradientSums) -> None:
        """Add those of the weights over a chunk; inputs `(len(chunk) * B, C)`."""
        grads = self._parts(self.grads.rows(chunk))
        for name, grad in zip(self.names, grads, strict=True):
            sums.add_linear(name, inputs, grad)

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """`(N, 2G C)` -> the keys and values of each pair, `(N, C)`."""
        return x.chunk(len(self.names), dim=1)


class MemoryRun:
    """All positions' memories.

    Args:
        weights: `k_proj.G.weight` and so on; `layer_norm.weight` and `.bias` with pre-norm;
            `distance_keys` with relative positions.
        mixture: makes the memories of the channels that are read.
        groups: the pairs of projections that are read, in the order of their channels.
        windows: what a position sees.
        num_heads: H.
        eps: of the layer norm.
        tape: makes the buffers.
        like: `(B, C)`, for the dtype of products.
        states_like: for the dtype of states.
        past: the carried memories, or None.

    Attributes:
        reads: one for each of `groups`.
    """

    def __init__(
        self,
        weights: Weights,
        mixture: MixtureRun,
        groups: Sequence[Group],
        windows: Windows,
        num_heads: int,
        eps: float,
        tape: Tape,
        like: Tensor,
        states_like: Tensor,
        past: CarriedMemory | None = None,
    ):
        self.weights, self.mixture, self.groups, self.windows = weights, mixture, groups, windows
        self.last_step = tape.num_steps - 1
        self.memories = tape.slots(len(mixture.channels), *like.shape, like=states_like)
        self.norm = self._norm(eps)
        self.channels = [
            ChannelRun(weights, [x.pair for x in groups if x.channel == number], like.dtype, tape)
            for number in mixture.channels
        ]
        # Zeros: the empty entries before the first memory are multiplied by zero.
        shape = (windows.first + tape.num_steps, 2 * len(groups), *like.shape)
        self._entries = tape.empty(shape, like).zero_()
        if past is not None:
            self._write_past(past)
        self._distances, position_keys = self._position_keys(like.dtype)
        self.reads = [
            MemoryReads(
                self._entries[:, 2 * i], self._entries[:, 2 * i + 1], windows, position_keys,
                group.readers, num_heads, tape,
            )
            for i, group in enumerate(groups)
        ]  # fmt: skip

    def forward(self, t: int) -> None:
        """Write the memories of position t, from its states."""
        memories = self.memories[t]
        if t == self.last_step:  # nobody reads them
            memories.zero_()
            return
        self.mixture.forward(t, memories)
        if self.norm is not None:
            memories = self.norm(memories)
        first, entries = 0, self._entries[self.windows.first + t]
        for channel, memory in zip(self.channels, memories, strict=True):
            end = first + len(channel.names)
            channel.forward(memory, entries[first:end])
            first = end

    def _write_past(self, past: CarriedMemory) -> None:
        """Put the carried memories before those of position 0."""
        for i, carried in enumerate((past.keys, past.values)):
            # A list of numbers as the index would be copied from the host to the device.
            chosen = torch.stack([carried[group.pair] for group in self.groups])
            # (G, B, H, P, D) -> (P, G, B, C)
            entries = chosen.permute(3, 0, 1, 2, 4).flatten(3)
            self._entries[self.windows.first - len(past) : self.windows.first, i::2] = entries

    def start_backward(self, tape: Tape) -> None:
        """Make the buffers of the backward."""
        self._memory_grads = tape.chunk_slots(*self.memories.all.shape[1:], like=self.memories.all)
        self.mixture.start_backward(tape)
        for channel in self.channels:
            channel.start_backward(tape, self._entries)
        if self.norm is not None:
            self.norm.start_backward(tape)
        for reads in self.reads:
            reads.start_backward(tape)

    def start_chunk(self, chunk: range) -> None:
        """Prepare the steps back through a chunk of positions."""
        if self.norm is not None:
            self.norm.start_chunk(chunk)

    def back(self, t: int, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients of the states `(B, C)`: those given (None: zero) and the memories'."""
        if t == self.last_step:
            self._no_gradient(t)
            return list(grads)
        pairs = [x for reads in self.reads for x in reads.gather(t)]
        found = []
        for channel in self.channels:
            here, pairs = pairs[: len(channel.names)], pairs[len(channel.names) :]
            found.append(channel.back(t, here).to(self.memories.all.dtype))
        memory_grad = found[0].unsqueeze(0) if len(found) == 1 else torch.stack(found)
        if self.norm is not None:
            memory_grad = self.norm.back(t, memory_grad)
        self._memory_grads[t].copy_(memory_grad)
        return self.mixture.back(t, memory_grad, grads)

    def _no_gradient(self, t: int) -> None:
        self._memory_grads[t].zero_()
        self.mixture.no_gradient(t)
        for channel in self.channels:
            channel.grads[t].zero_()
        if self.norm is not None:
            self.norm.grads[t].zero_()

    def add_gradients(self, chunk: range, sums: GradientSums) -> None:
        """Add those of the weights over a chunk."""
        self.mixture.add_gradients(chunk, self._memory_grads.cut(chunk), sums)
        if self.norm is not None:
            self.norm.add_gradients(sums.under("layer_norm."))
        inputs = self.memories.cut(chunk) if self.norm is None else self.norm.outputs
        for channel, memories in zip(self.channels, inputs.unbind(1), strict=True):
            channel.add_gradients(chunk, memories.flatten(0, 1), sums)

    def add_position_gradients(self, sums: GradientSums) -> None:
        """Add that of `distance_keys`, once the loop has ended."""
        if self._distances is None or not sums.want("distance_keys"):
            return
        table = torch.zeros_like(self.weights["distance_keys"])
        for reads in self.reads:
            table.index_add_(0, self._distances, reads.position_gradients().to(table.dtype))
        sums.add("distance_keys", table)

    def add_past_gradients(self, past: CarriedMemory, sums: GradientSums) -> None:
        """Add those of the carried `keys` and `values`, once the loop has ended."""
        if not sums.want("keys", "values"):
            return
        grads = [torch.zeros_like(x) for x in (past.keys, past.values)]
        for group, reads in zip(self.groups, self.reads, strict=True):
            for total, found in zip(grads, reads.gather_before(len(past)), strict=True):
                # (BH, P, D) -> (B, H, P, D)
                total[group.pair] = found.view(total[group.pair].shape)
        sums.add("keys", grads[0])
        sums.add("values", grads[1])

    def _norm(self, eps: float) -> Norm | None:
        if "layer_norm.weight" not in self.weights:
            return None
        weight, bias = self.weights["layer_norm.weight"], self.weights["layer_norm.bias"]
        return Norm(weight, bias, eps, self.memories)

    def _position_keys(self, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        """The row of `distance_keys` of the distances W .. 1, and these rows `(W, D)`."""
        table = self.weights.get("distance_keys")
        if table is None:
            return None, None
        distances = torch.arange(self.windows.widest, 0, -1, device=table.device)
        rows = (distances - 1).clamp(max=table.size(0) - 1)
        return rows, table[rows].to(dtype)
