"""The two attentions of a decoder layer, position by position.

Size legend: T target positions, B sentences, S source positions, C model dimension, H heads,
BH = B * H, D = C / H, K keys.
"""

import torch
from torch import Tensor

from ..modules.cross_attention import CrossMemory
from .attention_step import Keys, attend, attend_back, dropped
from .gradients import GradientSums, Weights
from .memory_reads import MemoryReads
from .sublayers import Sublayer
from .tape import Slots, Tape


class AttentionSteps(Sublayer):
    """What both attentions share.

    Args: as for `Sublayer`, and
        rows: B.
        scaling: of the queries.
        drop: dropout masks of the probabilities `(T, B, H, K)`, or None.

    Attributes:
        queries: scaled, `(B, C)`.
    """

    queries: Slots
    names = ("q_proj", "out_proj")

    def __init__(
        self,
        weights: Weights,
        tape: Tape,
        like: Tensor,
        rows: int,
        scaling: float,
        drop: Tensor | None,
    ):
        super().__init__(weights, tape, like)
        self.scaling = scaling
        # (T, B, H, K) -> T times (BH, 1, K)
        self.drop = None if drop is None else drop.flatten(1, 2).unsqueeze(2).unbind(0)
        self.last_inputs = tape.slots(rows, self.first.weight.size(0), like=like)

    def read(self, t: int, seen: Keys, drop: Tensor | None, probs: Tensor) -> Tensor:
        """Attend with the queries written, write probs `(BH, 1, K)`; the result `(B, C)`."""
        query, context = self._by_head(seen, self.queries[t], self.last_inputs[t])
        attend(query, seen, drop, probs, context)
        return self.last(self.last_inputs[t])

    def back_read(
        self,
        t: int,
        seen: Keys,
        drop: Tensor | None,
        probs: Tensor,
        extra: Tensor | None,
        context_grad: Tensor,
        scores_grad: Tensor,
    ) -> None:
        """The backward of `read`; writes context_grad `(B, C)` and scores_grad `(BH, 1, K)`."""
        self.last.back_into(self.last_grads[t], context_grad)
        by_head = self._by_head(seen, context_grad, self.first_grads[t])
        attend_back(by_head[0], seen, drop, probs, extra, self.scaling, scores_grad, by_head[1])

    def _by_head(self, seen: Keys, *rows: Tensor) -> list[Tensor]:
        """`(B, C)` -> `(BH, 1, D)`."""
        return [x.view(seen.keys.size(0), 1, -1) for x in rows]


class MemoryAttentionSteps(AttentionSteps):
    """Attention to the memories of the earlier positions.

    Args: as for `AttentionSteps`, and
        reads: the memories' keys and values, with the buffers of all layers that read them.
        reader: this layer's number among those.

    Attributes:
        asked: `ask_all` has been called; the loops then leave `first` out.
    """

    def __init__(
        self,
        weights: Weights,
        tape: Tape,
        like: Tensor,
        rows: int,
        scaling: float,
        drop: Tensor | None,
        reads: MemoryReads,
        reader: int,
    ):
        super().__init__(weights, tape, like, rows, scaling, drop)
        self.reads, self.reader = reads, reader
        self.queries = reads.queries[reader]
        self.first_reader = reads.windows.first_reader
        self.asked = False

    def ask_all(self, entered: Tensor) -> None:
        """Write all queries at once, where `entered` `(T, B, C)` is known before the loop."""
        queries = self.first(entered.flatten(0, 1)).mul_(self.scaling).view(entered.shape)
        if self.queries.all.size(0) == len(queries):
            self.queries.all.copy_(queries)
        else:
            self.queries = Slots(queries, len(queries))
        self.asked = True

    def forward(self, t: int, x: Tensor) -> Tensor:
        if t < self.first_reader:
            return self.last(self.last_inputs[t].zero_())
        if not self.asked:
            self.first.times(x, self.scaling, out=self.queries[t])
        return self.read(t, *self._seen(t), self.reads.probs(self.reader, t))

    def back(self, t: int) -> None:
        if t < self.first_reader:
            self.first_grads[t].zero_()
            return
        seen, drop = self._seen(t)
        probs, scores_grad = self.reads.probs(self.reader, t), self.reads.scores(self.reader, t)
        context_grad = self.reads.context_grads[self.reader][t]
        self.back_read(t, seen, drop, probs, None, context_grad, scores_grad)
        if drop is not None:
            probs.copy_(dropped(probs, drop))  # what the values' gradient wants

    def _seen(self, t: int) -> tuple[Keys, Tensor | None]:
        if self.drop is None:
            return self.reads.window(t), None
        return self.reads.window(t), self.drop[t][..., self.reads.windows.seen(t)]


class SourceAttentionSteps(AttentionSteps):
    """Attention to the source, whose keys and values are the same at every step.

    Args: as for `AttentionSteps`, and
        source: the keys and values.
        keep_probs: keep all probabilities, although no backward follows.

    Attributes:
        probs: before dropout, `(BH, 1, S)`.
        probs_grads: `(T, BH, 1, S)` from elsewhere, or None.
    """

    def __init__(
        self,
        weights: Weights,
        tape: Tape,
        like: Tensor,
        rows: int,
        scaling: float,
        drop: Tensor | None,
        source: CrossMemory,
        keep_probs: bool,
    ):
        super().__init__(weights, tape, like, rows, scaling, drop)
        self.seen = source_keys(source, like, tape.may_ask)
        self.queries = tape.slots(rows, self.first.weight.size(0), like=like)
        size = (self.seen.keys.size(0), 1, self.seen.keys.size(1))
        if keep_probs:
            self.probs = Slots(tape.empty((tape.num_steps, *size), like), tape.num_steps)
        else:
            self.probs = tape.slots(*size, like=like)
        self.probs_grads: Tensor | None = None

    def forward(self, t: int, x: Tensor) -> Tensor:
        self.first.times(x, self.scaling, out=self.queries[t])
        return self.read(t, self.seen, self._drop(t), self.probs[t])

    def start_backward(self, tape: Tape) -> None:
        super().start_backward(tape)
        self.context_grads = tape.chunk_slots(*self.queries.all.shape[1:], like=self.queries.all)
        self.scores_grads = tape.chunk_slots(*self.probs.all.shape[1:], like=self.probs.all)

    def back(self, t: int) -> None:
        extra = None if self.probs_grads is None else self.probs_grads[t]
        self.back_read(
            t, self.seen, self._drop(t), self.probs[t], extra,
            self.context_grads[t], self.scores_grads[t],
        )  # fmt: skip

    def add_source_gradients(self, chunk: range, sums: GradientSums) -> None:
        """Add those of the source's `keys` and `values`, `(BH, S, D)`, over a chunk."""
        if sums.want("keys"):
            scores, queries = self.scores_grads.cut(chunk), self.queries.cut(chunk)
            sums.add_products("keys", *self._by_row(scores, queries))
        if sums.want("values"):
            probs = self.probs.cut(chunk)
            if self.drop is not None:
                drop = torch.stack(self.drop[chunk.start : chunk.stop])
                probs = torch.mul(probs, drop).to(probs.dtype)
            sums.add_products("values", *self._by_row(probs, self.context_grads.cut(chunk)))

    def _by_row(self, probs: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Probs `(t, BH, 1, S)` -> `(BH, S, t)`, x `(t, B, C)` -> `(BH, t, D)`."""
        rows = x.view(len(x), probs.size(1), -1)
        return probs.squeeze(2).permute(1, 2, 0), rows.transpose(0, 1)

    def _drop(self, t: int) -> Tensor | None:
        return None if self.drop is None else self.drop[t]


def source_keys(source: CrossMemory, like: Tensor, may_ask: bool) -> Keys:
    """A layer's source `(B, H, S, D)` as keys `(BH, S, D)` in the dtype of `like`.

    If the mask may be asked whether every sentence has a key, rows without any cost nothing.
    """
    keys, values = (x.flatten(0, 1).to(like.dtype) for x in (source.keys, source.values))
    if source.padding_mask is None:
        return Keys(keys, values)
    # (B, S) -> (BH, 1, S)
    hidden = source.padding_mask.repeat_interleave(source.keys.size(1), dim=0).unsqueeze(1)
    bias = like.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
    all_have_keys = may_ask and not bool(source.padding_mask.all(dim=1).any())
    return Keys(keys, values, bias, None if all_have_keys else hidden)
