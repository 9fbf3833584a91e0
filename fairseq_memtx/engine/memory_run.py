"""The memory of a run: mixes the states of a position, projects them, and takes gradients back.

Fan et al. 2020 (arXiv 2002.09402), section 3: m_t = sum_l w_l x_t^l, k_t = W_k m_t, v_t = W_v m_t.

Size legend: T target positions, P carried memories before them, B sentences, C model dimension,
L layers, G pairs of projections, H heads, D = C / H.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..modules.carried_memory import CarriedMemory
from .gemm import Projection
from .gradients import GradientSums, Weights
from .memory_reads import MemoryReads, Windows
from .norm import Norm
from .tape import Slots, Tape


class MemoryRun:
    """All positions' memories.

    Args:
        weights: `probs` `(L + 1,)`, the mixture; `k_proj.G.weight` and so on; `layer_norm.weight`
            and `.bias` with pre-norm; `distance_keys` with relative positions.
        groups: for each pair of projections that is read, its number and that of its readers.
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
        groups: Sequence[tuple[int, int]],
        windows: Windows,
        num_heads: int,
        eps: float,
        tape: Tape,
        like: Tensor,
        states_like: Tensor,
        past: CarriedMemory | None = None,
    ):
        num_rows, dim = like.shape
        self.weights, self.groups, self.windows = weights, groups, windows
        self.probs = weights["probs"].to(states_like.dtype).unbind(0)
        self.last_step = tape.num_steps - 1
        self.mixtures = tape.slots(num_rows, dim, like=states_like)
        self.norm = self._norm(eps)
        self._project = self._projection(like.dtype, tape)
        # Zeros: the empty entries before the first memory are multiplied by zero.
        shape = (windows.first + tape.num_steps, 2 * len(groups), *like.shape)
        self._entries = tape.empty(shape, like).zero_()
        if past is not None:
            self._write_past(past)
        self._distances, position_keys = self._position_keys(like.dtype)
        self.reads = [
            MemoryReads(
                self._entries[:, 2 * i], self._entries[:, 2 * i + 1], windows, position_keys,
                num_readers, num_heads, tape,
            )
            for i, (_, num_readers) in enumerate(groups)
        ]  # fmt: skip

    def forward(self, t: int, states: Sequence[Tensor]) -> None:
        """Write the memory of position t, from its L + 1 states `(B, C)`."""
        if t == self.last_step:  # nobody reads its memory
            self.mixtures[t].zero_()
            return
        memory = torch.mul(states[0], self.probs[0], out=self.mixtures[t])
        for weight, x in zip(self.probs[1:], states[1:], strict=True):
            memory.addcmul_(x, weight)
        if self.norm is not None:
            memory = self.norm(memory)
        # (B, 2 G C) -> (2 G, B, C)
        projected = self._project(memory).view(len(memory), -1, memory.size(1))
        self._entries[self.windows.first + t].copy_(projected.transpose(0, 1))

    def _write_past(self, past: CarriedMemory) -> None:
        """Put the carried memories before those of position 0."""
        for i, carried in enumerate((past.keys, past.values)):
            # A list of numbers as the index would be copied from the host to the device.
            chosen = torch.stack([carried[number] for number, _ in self.groups])
            # (G, B, H, P, D) -> (P, G, B, C)
            entries = chosen.permute(3, 0, 1, 2, 4).flatten(3)
            self._entries[self.windows.first - len(past) : self.windows.first, i::2] = entries

    def start_backward(self, tape: Tape) -> None:
        """Make the buffers of the backward."""
        _, width, rows, dim = self._entries.shape
        self._grads = tape.chunk_slots(rows, width * dim, like=self._entries)
        self._mixture_grads = tape.chunk_slots(rows, dim, like=self.mixtures.all)
        if self.norm is not None:
            self.norm.start_backward(tape)
        for reads in self.reads:
            reads.start_backward(tape)

    def start_chunk(self, chunk: range) -> None:
        """Prepare the steps back through a chunk of positions."""
        if self.norm is not None:
            self.norm.start_chunk(chunk)

    def back(self, t: int, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients of the L + 1 states `(B, C)`: those given (None: zero) and the memory's."""
        if t == self.last_step:
            self._no_gradient(t)
            return list(grads)
        memory_grad = self._grads[t]
        pairs = [x for reads in self.reads for x in reads.gather(t)]
        for part, grad in zip(self._parts(memory_grad), pairs, strict=True):
            part.copy_(grad.reshape(part.shape))
        memory_grad = self._project.back(memory_grad).to(self.mixtures.all.dtype)
        if self.norm is not None:
            memory_grad = self.norm.back(t, memory_grad)
        self._mixture_grads[t].copy_(memory_grad)
        return [
            memory_grad * weight if grad is None else torch.addcmul(grad, memory_grad, weight)
            for weight, grad in zip(self.probs, grads, strict=True)
        ]

    def _no_gradient(self, t: int) -> None:
        self._grads[t].zero_()
        self._mixture_grads[t].zero_()
        if self.norm is not None:
            self.norm.grads[t].zero_()

    def add_gradients(self, chunk: range, states: Sequence[Slots], sums: GradientSums) -> None:
        """Add those of the weights over a chunk; `states` are all L + 1."""
        if sums.want("probs"):
            mixed = self._mixture_grads.cut(chunk)
            sums.add("probs", torch.stack([torch.mul(mixed, x.cut(chunk)).sum() for x in states]))
        if self.norm is not None:
            self.norm.add_gradients(sums.under("layer_norm."))
        inputs = self.mixtures.cut(chunk) if self.norm is None else self.norm.outputs
        inputs = inputs.flatten(0, 1)
        grads = self._parts(self._grads.rows(chunk))
        for name, grad in zip(self._names(), grads, strict=True):
            sums.add_linear(name, inputs, grad)

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
        for (number, _), reads in zip(self.groups, self.reads, strict=True):
            for total, found in zip(grads, reads.gather_before(len(past)), strict=True):
                total[number] = found.view(total[number].shape)  # (BH, P, D) -> (B, H, P, D)
        sums.add("keys", grads[0])
        sums.add("values", grads[1])

    def _names(self) -> list[str]:
        """Of the maps whose outputs lie side by side in one product."""
        return [f"{kind}_proj.{g}" for g, _ in self.groups for kind in "kv"]

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """`(N, 2 G C)` -> the keys and values of each pair of projections, `(N, C)`."""
        return x.chunk(2 * len(self.groups), dim=1)

    def _norm(self, eps: float) -> Norm | None:
        if "layer_norm.weight" not in self.weights:
            return None
        weight, bias = self.weights["layer_norm.weight"], self.weights["layer_norm.bias"]
        return Norm(weight, bias, eps, self.mixtures)

    def _projection(self, dtype: torch.dtype, tape: Tape) -> Projection:
        names = self._names()
        weight = torch.cat([self.weights[f"{name}.weight"] for name in names])
        bias = torch.cat([self.weights[f"{name}.bias"] for name in names])
        return Projection(weight, bias, dtype, tape.num_steps, backward=tape.keep)

    def _position_keys(self, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        """The row of `distance_keys` of the distances W .. 1, and these rows `(W, D)`."""
        table = self.weights.get("distance_keys")
        if table is None:
            return None, None
        distances = torch.arange(self.windows.widest, 0, -1, device=table.device)
        rows = (distances - 1).clamp(max=table.size(0) - 1)
        return rows, table[rows].to(dtype)
