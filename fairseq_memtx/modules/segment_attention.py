"""Attention of a layer to its segment and its memories, all segments of a target at once.

Transformer-XL (Dai et al. 2019, arXiv 1901.02860, section 3) and the Compressive Transformer (Rae
et al. 2019, arXiv 1911.05507, section 3). The keys of a segment are [compressed ; memory ;
segment], and the places in that row count for the distances. `segment_plan` says how all segments
are computed together; `SegmentAttention.loop` computes one after the other, as the papers do.

Gradients: the states of a memory stand behind a stop-gradient, after the layer's norm where there
is one (`SegmentAttention.memory_teaches_norm`), while the same states as keys of their own segment
do not. Both teach the projections. The
compressed states stand behind a stop-gradient too, unless the main loss is to teach the compression
(BPTT); the compression is given its states detached. In a pass that is `unrolled` none of this is
stopped, but for the compressed states of a function that learns from a loss of its own.

Size legend: B sentences, T positions, segs segments of Q positions, W keys of a segment, C model
dimension, H heads, D = C / H, blocks of n states, each compressed to m, M carried states.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .compression import Compression, Reconstruction, frozen
from .compression_loss import Entries, attention_reconstruction, auto_encoding
from .relative_attention import RelativeAttention
from .relative_positions import RelativePositions
from .row_entries import last_entries
from .segment_memory import (
    LayerMemory,
    SegmentLengths,
    join_hidden,
    windows,
    windows_of_mask,
)
from .segment_plan import SegmentPlan
from .stop_gradient import project_twice

COMPRESSION_LOSSES = ("reconstruction", "auto-encoding", "bptt")

Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class SegmentPass:
    """What one pass over a target is to do, the same for all layers of equal lengths.

    Attributes:
        lengths: of segments and memories.
        num_words: `(B,)`, positions of each sentence, its padding following; None where all count.
        keep: the memory after the target is wanted.
        drop_probs: apply attention dropout.
        unrolled: gradients go back through memories.
    """

    lengths: SegmentLengths
    num_words: Tensor | None = None
    keep: bool = False
    drop_probs: bool = False
    unrolled: bool = False


class SegmentsOutput(NamedTuple):
    """What attention to all segments gives.

    Attributes:
        out: `(B, T, C)`.
        memory: after the target, or None where it was not to be kept.
        loss: of the compression function, a scalar, or None where nothing was compressed or it has
            no loss of its own.
    """

    out: Tensor
    memory: LayerMemory | None
    loss: Tensor | None


class Blocks(NamedTuple):
    """The states that fall out of the memory in one pass.

    Attributes:
        old: `(B, blocks, n, C)`; old_hidden `(B, blocks, n)` is True where one is absent.
        new: `(B, blocks, m, C)`, compressed; new_hidden `(B, blocks, m)` likewise.
    """

    old: Tensor
    old_hidden: Tensor
    new: Tensor
    new_hidden: Tensor


class InView(NamedTuple):
    """What the entries are that a position of a search attends to: those of its segment follow.

    Attributes:
        compressed, recent: how many come first, of the compressed memory and then of the memory.
    """

    compressed: int
    recent: int


class SegmentAttention(RelativeAttention):
    """Relative multi-head attention to a segment and its memories.

    Args:
        embed_dim: C.
        num_heads: H.
        positions: how distance counts.
        compression: f_c, or None for no compressed memory.
        compression_loss: how f_c learns, one of `COMPRESSION_LOSSES`; of no account where it has
            no parameters.
        dropout: probability, of attention probabilities.

    Attributes:
        memory_teaches_norm: the stop-gradient of a memory's states comes before the layer's norm,
            so that they teach its parameters too. Off: `scripts.studies.segments.stop_gradient` has
            measured both, and `docs/decoders.md` says what was found.
        listener: hears the probabilities of each position of a search, `(N, H, t)`, and what the
            entries are; None for nobody.
    """

    memory_teaches_norm = False
    listener: Callable[[Tensor, InView], None] | None = None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        positions: RelativePositions,
        compression: Compression | None = None,
        compression_loss: str = "reconstruction",
        dropout: float = 0.0,
    ):
        super().__init__(embed_dim, num_heads, positions, dropout)
        self.compression = compression
        learned = compression is not None and any(True for _ in compression.parameters())
        self.compression_loss = compression_loss if learned else None
        self.rebuild: Reconstruction | None = None
        if compression is not None and self.compression_loss == "auto-encoding":
            self.rebuild = Reconstruction(embed_dim, compression.rate)

    def remove_compression(self) -> None:
        """Make a layer without compressed memory of it."""
        self.compression = self.compression_loss = self.rebuild = None

    def forward(
        self, x: Tensor, norm: Norm, how: SegmentPass, memory: LayerMemory | None = None
    ) -> SegmentsOutput:
        """Attend from every position of a target.

        Args:
            x: `(B, T, C)`, the layer's inputs before its norm.
            norm: the layer's norm before attention; the identity for post-norm.
            how: lengths and what is wanted.
            memory: from the text before, or None.
        """
        memory = fitting(LayerMemory.empty(x) if memory is None else memory, how.lengths)
        if self.compression is not None and self.compression.uses_attention:
            return self.loop(x, norm, how, memory)
        return self.at_once(x, norm, how, memory)

    def loop(self, x: Tensor, norm: Norm, how: SegmentPass, memory: LayerMemory) -> SegmentsOutput:
        """One segment after the other (Algorithm 1): the reference, and what most-used needs."""
        outs, losses, length = [], [], how.lengths.segment
        for start in range(0, x.size(1), length):
            segment = x[:, start : start + length]
            here = how.num_words
            if here is not None:
                here = (here - start).clamp(0, segment.size(1))
            more = start + length < x.size(1)
            now = replace(how, num_words=here, keep=how.keep or more)
            out, after, loss = self.at_once(segment, norm, now, memory)
            outs.append(out)
            losses += [] if loss is None else [loss]
            memory = memory if after is None else after
        total = torch.stack(losses).sum() if losses else None
        return SegmentsOutput(torch.cat(outs, dim=1), memory if how.keep else None, total)

    def at_once(
        self, x: Tensor, norm: Norm, how: SegmentPass, memory: LayerMemory
    ) -> SegmentsOutput:
        """All segments in parallel; for most-used, x must be a single segment."""
        plan = SegmentPlan(
            x.size(1), memory.recent.size(1), memory.compressed.size(1), how.lengths, how.keep,
            how.unrolled,
        )  # fmt: skip
        needs_usage = self.compression is not None and self.compression.uses_attention
        y = norm(x)
        query = segments(self.query(y), plan)
        blocks = None if needs_usage else self.compress(x, memory, how.num_words, plan)
        older = self.compressed_stream(memory, blocks, plan)
        keys, values = self.windows(x, y, norm, memory, older[0], plan)
        hidden = hidden_keys(plan, memory, older[1], x.device)
        context, probs = self.attend(query, keys, values, hidden, how.drop_probs)
        # (H, B, segs, Q, D) -> (B, T, C)
        context = context.permute(1, 2, 3, 0, 4).flatten(3).flatten(1, 2)[:, : x.size(1)]
        if needs_usage:
            memory = memory._replace(usage=add_usage(memory, probs.detach(), how.num_words, plan))
            blocks = self.compress(x, memory, how.num_words, plan)
        loss = self.loss(blocks, query, norm, how.num_words, plan)
        after = remember(x, memory, self.taught(blocks, plan), how) if how.keep else None
        return SegmentsOutput(self.out_proj(context), after, loss)

    def compress(
        self, x: Tensor, memory: LayerMemory, num_words: Tensor | None, plan: SegmentPlan
    ) -> Blocks | None:
        """Compress the blocks that fall out of the memory in this pass; None for no block."""
        if self.compression is None or plan.num_blocks == 0:
            return None
        lengths, count = plan.lengths, plan.num_blocks
        where = (plan.carried + plan.first_block_end, lengths.segment, lengths.segment, count)
        states = torch.cat([memory.recent, x], dim=1)
        old = windows(states if self.opens(plan) else states.detach(), *where)
        old_hidden = not_evicted(x, memory, num_words, plan, where)
        usage = None
        if memory.usage is not None:
            unused = memory.usage.new_zeros(x.shape[:2])
            stream = torch.cat([memory.usage, unused], dim=1).unsqueeze(-1)
            usage = windows(stream, *where).squeeze(-1).flatten(0, 1)
        new = self.compression(old.flatten(0, 1), old_hidden.flatten(0, 1), usage)
        shape = (x.size(0), count)
        assert new.hidden is not None
        states, hidden = (x.unflatten(0, shape) for x in (new.states, new.hidden))
        return Blocks(old, old_hidden, states, hidden)

    def opens(self, plan: SegmentPlan) -> bool:
        """Whether gradients go back through compressed states to those they were made of."""
        return plan.unrolled and self.compression_loss in (None, "bptt")

    def teaches(self, plan: SegmentPlan) -> bool:
        """Whether the main loss's gradient reaches the compressed states."""
        return self.compression_loss == "bptt" or self.opens(plan)

    def taught(self, blocks: Blocks | None, plan: SegmentPlan) -> Blocks | None:
        """The blocks as attention sees them: most often behind a stop-gradient."""
        if blocks is None or self.teaches(plan):
            return blocks
        return blocks._replace(new=blocks.new.detach())

    def compressed_stream(
        self, memory: LayerMemory, blocks: Blocks | None, plan: SegmentPlan
    ) -> tuple[Tensor, Tensor | None]:
        """Carried and new compressed states `(B, Z, C)` and a mask `(B, Z)`, None if all exist.

        Blocks before the first that holds a state have their places too: then window k always ends
        after the places of block k - 1.
        """
        blocks = self.taught(blocks, plan)
        if blocks is None or plan.count == 1:
            return memory.compressed, memory.compressed_hidden
        empty = plan.first_block * plan.lengths.per_segment
        new = nn.functional.pad(blocks.new.flatten(1, 2), (0, 0, empty, 0))
        new_hidden = nn.functional.pad(blocks.new_hidden.flatten(1, 2), (empty, 0), value=True)
        both = (memory.compressed, new)
        return torch.cat(both, dim=1), join_hidden(memory.compressed_hidden, new_hidden, both)

    def stopped(self, states: Tensor, norm: Norm) -> Tensor:
        """A memory's states `(B, t, C)` after the norm, behind the stop-gradient."""
        return norm(states.detach()) if self.memory_teaches_norm else norm(states).detach()

    def windows(
        self, x: Tensor, y: Tensor, norm: Norm, memory: LayerMemory, older: Tensor,
        plan: SegmentPlan,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Keys, values `(H, B, segs, W, D)` of each segment's [compressed ; memory ; segment].

        `y` is `x` after the norm.
        """
        result = []
        in_view = plan.recent > 0 and plan.carried > 0
        carried = None
        if in_view:
            carried = norm(memory.recent) if plan.unrolled else self.stopped(memory.recent, norm)
        if plan.compressed > 0:
            older = norm(older) if self.teaches(plan) else self.stopped(older, norm)
        for proj in (self.k_proj, self.v_proj):
            parts, past = [], [] if carried is None else [proj(carried)]
            own = proj(y) if plan.recent == 0 or plan.count == 1 else None
            if own is None and plan.unrolled:
                own = proj(y)
                past.append(own)
            elif own is None and self.memory_teaches_norm:
                own = proj(y)
                past.append(proj(self.stopped(x, norm)))
            elif own is None:
                own, stopped = project_twice(proj, y)
                past.append(stopped)
            if plan.compressed > 0:
                parts.append(windows(self.split(proj(older)), *older_windows(memory, plan)))
            if plan.recent > 0:
                where = (plan.carried, plan.recent, plan.lengths.segment, plan.count)
                parts.append(windows(self.split(torch.cat(past, dim=1)), *where))
            parts.append(segments(self.split(own), plan))
            result.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2))
        return result[0], result[1]

    def loss(
        self,
        blocks: Blocks | None,
        query: Tensor,
        norm: Norm,
        num_words: Tensor | None,
        plan: SegmentPlan,
    ) -> Tensor | None:
        """The compression's own loss over the blocks of this pass, or None."""
        if blocks is None or self.compression is None:
            return None
        if self.rebuild is not None:
            rebuilt = self.rebuild(blocks.new.flatten(0, 1)).view_as(blocks.old)
            return auto_encoding(blocks.old, blocks.old_hidden, rebuilt)
        if self.compression_loss != "reconstruction":
            return None
        first, count = plan.first_block, plan.num_blocks
        query = query.detach()[:, :, first : first + count]
        return attention_reconstruction(
            query,
            padded_queries(num_words, query, plan),
            self.entries(blocks.old, blocks.old_hidden, norm),
            self.entries(blocks.new, blocks.new_hidden, norm),
        )

    def entries(self, states: Tensor, hidden: Tensor, norm: Norm) -> Entries:
        """Keys and values of blocks `(B, blocks, n, C)`; the projections learn nothing from it."""
        y = frozen(norm, states) if isinstance(norm, nn.Module) else norm(states)
        # (B, blocks, n, C) -> (H, B, blocks, n, D)
        keys, values = (
            frozen(proj, y).unflatten(3, (self.num_heads, -1)).permute(3, 0, 1, 2, 4)
            for proj in (self.k_proj, self.v_proj)
        )
        return Entries(keys, values, hidden)


def fitting(memory: LayerMemory, lengths: SegmentLengths) -> LayerMemory:
    """The part of a memory that `lengths` allows: the last n_m and n_cm entries."""
    recent = slice(max(memory.recent.size(1) - lengths.memory, 0), None)
    compressed = slice(max(memory.compressed.size(1) - lengths.compressed, 0), None)
    return LayerMemory(
        memory.recent[:, recent],
        memory.compressed[:, compressed],
        None if memory.recent_hidden is None else memory.recent_hidden[:, recent],
        None if memory.compressed_hidden is None else memory.compressed_hidden[:, compressed],
        None if memory.usage is None else memory.usage[:, recent],
    )


def segments(x: Tensor, plan: SegmentPlan) -> Tensor:
    """`(H, B, T, D)` -> `(H, B, segs, Q, D)`, the last segment padded."""
    lack = plan.count * plan.size - plan.target
    if lack > 0:
        x = nn.functional.pad(x, (0, 0, 0, lack))
    return x.unflatten(2, (plan.count, plan.size))


def older_windows(memory: LayerMemory, plan: SegmentPlan) -> tuple[int, int, int, int]:
    """Where the windows of the segments lie in the stream of compressed states."""
    return memory.compressed.size(1), plan.compressed, plan.lengths.per_segment, plan.count


def hidden_keys(
    plan: SegmentPlan, memory: LayerMemory, older_hidden: Tensor | None, device: torch.device
) -> Tensor:
    """True where a query must not look, `(Q, W)` or `(1 or B, segs, Q, W)`."""
    hidden = plan.hidden(device)
    if plan.compressed + plan.recent == 0:
        return hidden
    parts = [torch.zeros(1, plan.count, plan.size, dtype=torch.bool, device=device)]
    if plan.recent > 0:
        carried = memory.recent_hidden
        if carried is None:
            carried = torch.zeros(1, plan.carried, dtype=torch.bool, device=device)
        mask = nn.functional.pad(carried, (0, plan.target))
        where = (plan.carried, plan.recent, plan.lengths.segment, plan.count)
        parts.insert(0, windows_of_mask(mask, *where))
    if plan.compressed > 0:
        if older_hidden is None:
            shape = (1, memory.compressed.size(1))
            older_hidden = torch.zeros(shape, dtype=torch.bool, device=device)
        parts.insert(0, windows_of_mask(older_hidden, *older_windows(memory, plan)))
    rows = max(part.size(0) for part in parts)
    absent = torch.cat([part.expand(rows, -1, -1) for part in parts], dim=2)
    # (1 or B, segs, 1, W) | (Q, W)
    return absent.unsqueeze(2) | hidden


def not_evicted(
    x: Tensor,
    memory: LayerMemory,
    num_words: Tensor | None,
    plan: SegmentPlan,
    where: tuple[int, int, int, int],
) -> Tensor:
    """True at the blocks' states that are absent or have not left the memory, `(B, blocks, n)`.

    Where the memory is kept, all have left it that do not fit into it any more. Where it is not,
    only those that a later segment of the same sentence sees in compressed form.
    """
    end, lengths = x.new_tensor(x.size(1), dtype=torch.long), plan.lengths
    if num_words is not None:
        end = num_words.view(-1, 1, 1)
    own = x.new_zeros(x.shape[:2], dtype=torch.bool)
    hidden = join_hidden(memory.recent_hidden, own, (memory.recent, x))
    assert hidden is not None
    blocks = torch.arange(plan.num_blocks, device=x.device)[:, None] + plan.first_block
    if plan.keep:
        place = torch.arange(lengths.segment, device=x.device)
        stays = blocks * lengths.segment + place >= end
    else:
        stays = (blocks + 1) * lengths.segment >= end
    return windows_of_mask(hidden, *where) | stays


def padded_queries(num_words: Tensor | None, query: Tensor, plan: SegmentPlan) -> Tensor:
    """True at padding among the blocks' queries `(H, B, blocks, Q, D)`: `(B, blocks, Q)`."""
    _, rows, count, size, _ = query.shape
    position = torch.arange(count * size, device=query.device).view(1, count, size)
    position = position + plan.first_block * size
    end = plan.target if num_words is None else num_words.view(-1, 1, 1)
    return (position >= end).expand(rows, -1, -1)


def add_usage(
    memory: LayerMemory, probs: Tensor, num_words: Tensor | None, plan: SegmentPlan
) -> Tensor:
    """Attention that the carried states have received, after one more segment, `(B, M)`.

    Args:
        memory: before the segment.
        probs: `(H, B, 1, Q, W)`.
        num_words: positions of the segment in each sentence, or None.
        plan: of the single segment.
    """
    usage = memory.usage
    if usage is None:
        usage = probs.new_zeros(probs.size(1), plan.carried)
    received = probs[:, :, 0, :, plan.compressed : plan.compressed + plan.recent].mean(dim=0)
    if num_words is not None:
        exists = torch.arange(received.size(1), device=probs.device) < num_words[:, None]
        received = received * exists.unsqueeze(-1)
    return usage + received.sum(dim=1)


def hidden_states(x: Tensor, memory: LayerMemory, num_words: Tensor | None) -> Tensor | None:
    """True at the carried states that do not exist and at padding, `(B, M + T)`; None for none."""
    padding = None
    if num_words is not None:
        padding = torch.arange(x.size(1), device=x.device) >= num_words[:, None]
    return join_hidden(memory.recent_hidden, padding, (memory.recent, x))


def remember(
    x: Tensor, memory: LayerMemory, blocks: Blocks | None, how: SegmentPass
) -> LayerMemory:
    """The memory after a target: ``m' = [m ; h][-n_m:]``, ``cm' = [cm ; f_c(old)][-n_cm:]``."""
    both = (memory.recent, x if how.unrolled else x.detach())
    hidden = hidden_states(x, memory, how.num_words)
    recent, recent_hidden, order = last_entries(torch.cat(both, dim=1), hidden, how.lengths.memory)
    usage = memory.usage
    if usage is not None:
        usage = torch.cat([usage, usage.new_zeros(x.shape[:2])], dim=1)
        first = usage.size(1) - recent.size(1)
        usage = usage[:, first:] if order is None else usage.gather(1, order)
    compressed, compressed_hidden = memory.compressed, memory.compressed_hidden
    if blocks is not None:
        both = (compressed, blocks.new.flatten(1, 2))
        new_hidden = blocks.new_hidden.flatten(1, 2)
        compressed_hidden = join_hidden(compressed_hidden, new_hidden, both)
        compressed = torch.cat(both, dim=1)
    compressed, compressed_hidden, _ = last_entries(
        compressed, compressed_hidden, how.lengths.compressed
    )
    return LayerMemory(recent, compressed, recent_hidden, compressed_hidden, usage)
