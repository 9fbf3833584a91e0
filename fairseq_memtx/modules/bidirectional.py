"""Attention of a whole sentence to itself and to a memory of the sentences before it.

XLNet (Yang et al. 2019, arXiv 1906.08237, section 2.4) takes Transformer-XL's memory and
relative positions (`relative_positions`) to an attention that sees words on both sides; here it is
an encoder's, so that every word sees the whole sentence. The keys are [memory ; sentence], and the
places in that row count for the distances: those of later words are below 0.

Gradients stop before the memory as in `segment_attention`.

Size legend: B sentences, S source positions, M carried states, C model dimension, H heads,
D = C / H.
"""

import torch
from torch import Tensor

from .segment_attention import (
    Norm,
    SegmentAttention,
    SegmentPass,
    SegmentsOutput,
    hidden_states,
    remember,
)
from .segment_memory import LayerMemory


class BidirectionalAttention(SegmentAttention):
    """A `SegmentAttention` whose target is one segment, all of which each of its words sees.

    Of the lengths it is told only that of the memory counts. Positions must have keys of distances
    below 0, and there is no compressed memory.
    """

    def at_once(
        self, x: Tensor, norm: Norm, how: SegmentPass, memory: LayerMemory
    ) -> SegmentsOutput:
        """A whole sentence; every row of x `(B, S, C)` needs a word."""
        y = norm(x)
        carried = norm(memory.recent) if how.unrolled else self.stopped(memory.recent, norm)
        entries = torch.cat([carried, y], dim=1)
        # (H, B, M + S, D) -> (H, B, 1, M + S, D): a single segment
        keys, values = (
            self.split(projection(entries)).unsqueeze(2)
            for projection in (self.k_proj, self.v_proj)
        )
        hidden = hidden_states(x, memory, how.num_words)
        # (B, M + S) -> (B, 1, 1, M + S)
        mask = x.new_zeros((), dtype=torch.bool) if hidden is None else hidden[:, None, None]
        query = self.query(y).unsqueeze(2)
        context, _ = self.attend(query, keys, values, mask, how.drop_probs, ahead=True)
        # (H, B, 1, S, D) -> (B, S, C)
        context = context.squeeze(2).permute(1, 2, 0, 3).flatten(2)
        after = remember(x, memory, None, how) if how.keep else None
        return SegmentsOutput(self.out_proj(context), after, None)
