"""Keys and values of the memories, and the buffers of the layers that read them.

Size legend: T target positions, P carried memories before them, B sentences, H heads, BH = B * H,
C model dimension, D = C / H, readers that read the same keys and values, W entries of the widest
window.
"""

import torch
from torch import Tensor

from ..modules.carried_memory import CarriedMemory
from .attention_step import Keys
from .memory_gather import MemoryGather
from .tape import Slots, Tape

# torch's CPU softmax over fewer numbers leaves its vectorised form and is up to nine times slower.
MIN_WIDTH = 16


class Windows:
    """Which memories a position sees: the last `span` ones that exist and are no padding.

    The entries are those of `front` that are empty, so that on a CPU no window is narrow, then P
    carried ones, then one for each position.

    Args:
        tape: for T, and whether the mask may be looked at.
        span: 0 for all.
        padding_mask: `(B, T)`, True at padding, or None.
        num_heads: H.
        like: for dtype and device of scores.
        past: the carried memories, or None.

    Attributes:
        first: the entry of position 0.
        first_reader: the first position that sees a memory: 0, or 1 where none is carried.
        reach: the largest distance seen.
        widest: W.
    """

    def __init__(
        self,
        tape: Tape,
        span: int,
        padding_mask: Tensor | None,
        num_heads: int,
        like: Tensor,
        past: CarriedMemory | None = None,
    ):
        on_cpu, num_steps = like.device.type == "cpu", tape.num_steps
        self._carried = 0 if past is None else len(past)
        entries = self._carried + num_steps
        self.reach = min(span, entries) if span > 0 else entries
        self.front = MIN_WIDTH if on_cpu and not 0 < span < MIN_WIDTH else 0
        self.first = self.front + self._carried
        self.first_reader = 0 if self._carried > 0 else 1
        self.widest = self.width(num_steps)
        self._bias = self._hidden = None
        mask = joined_masks(past, padding_mask, num_steps)
        self._padded = mask is not None
        if mask is not None or self.front > 0:
            hidden = torch.zeros(1, 1, entries, dtype=torch.bool, device=like.device)
            if mask is not None:
                hidden = mask.repeat_interleave(num_heads, dim=0).unsqueeze(1)
            hidden = torch.nn.functional.pad(hidden, (self.front, 0), value=True)
            self._bias = like.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf"))
            if mask is not None and (span > 0 or not tape.may_ask or bool(mask[:, 0].any())):
                self._hidden = hidden

    def count(self, t: int) -> int:
        """Number of memories that position t sees, padding included."""
        return min(self._carried + t, self.reach)

    def seen(self, t: int) -> slice:
        """These memories by number, the carried ones counted first."""
        end = self._carried + t
        return slice(end - self.count(t), end)

    def width(self, t: int) -> int:
        """Number of entries of its window."""
        return max(self.count(t), self.front)

    def cut(self, t: int, x: Tensor, dim: int) -> Tensor:
        """The window of position t from entries along `dim`."""
        width = self.width(t)
        return x.narrow(dim, self.first + t - width, width)

    def bias(self, t: int) -> Tensor | None:
        """`(BH or 1, 1, width)`, -inf at what is not seen, or None."""
        needed = self._padded or self.width(t) > self.count(t)
        return self.cut(t, self._bias, 2) if needed and self._bias is not None else None

    def hidden(self, t: int) -> Tensor | None:
        """`(BH, 1, width)`, True at what is not seen, or None where all see something."""
        return None if self._hidden is None else self.cut(t, self._hidden, 2)


def joined_masks(
    past: CarriedMemory | None, padding_mask: Tensor | None, num_steps: int
) -> Tensor | None:
    """`(B, P + T)`, True at what must not be read, or None."""
    if past is None or (past.hidden is None and padding_mask is None):
        return padding_mask
    hidden = past.hidden_mask()
    if padding_mask is None:
        padding_mask = hidden.new_zeros(len(hidden), num_steps)
    return torch.cat([hidden, padding_mask], dim=1)


class MemoryReads:
    """Keys and values of one pair of projections, as the layers that share it read them.

    Args:
        keys, values: `(front + P + T, B, C)`, written by the memory step by step.
        windows: what a position sees.
        position_keys: `(W, D)`, the keys of the distances W .. 1, or None.
        num_readers: readers.
        num_heads: H.
        tape: makes the buffers.

    Attributes:
        queries, context_grads: one `Slots` of `(B, C)` for each reader.
    """

    def __init__(
        self,
        keys: Tensor,
        values: Tensor,
        windows: Windows,
        position_keys: Tensor | None,
        num_readers: int,
        num_heads: int,
        tape: Tape,
    ):
        _, num_sentences, dim = keys.shape
        self.windows, self._positions = windows, position_keys
        self._num_rows, self._num_readers = num_sentences * num_heads, num_readers
        # (front + P + T, B, C) -> (BH, front + P + T, D): windows of it are views
        self._keys, self._values = (
            x.view(len(x), self._num_rows, -1).transpose(0, 1) for x in (keys, values)
        )
        self._queries = tape.block(num_readers, num_sentences, dim, like=keys)
        self.queries = self._by_reader(self._queries, tape)
        self._probs = tape.block(num_readers, self._num_rows, 1, windows.widest, like=keys)
        self._probs_of = self._by_reader(self._probs, tape)
        # Views cost about as much as small products: each is made once, in the loop forward.
        self._windows: dict[int, Keys] = {}

    def start_backward(self, tape: Tape) -> None:
        """Make the buffers of the backward."""
        self._context_grads = tape.empty(tuple(self._queries.shape), self._queries)
        self.context_grads = self._by_reader(self._context_grads, tape)
        # With relative positions all columns are summed over, also those before the first memory.
        self._scores_grads = tape.empty(tuple(self._probs.shape), self._probs)
        if self._positions is not None:
            self._scores_grads.zero_()
        self._scores_of = self._by_reader(self._scores_grads, tape)
        reach = self.windows.reach
        self._gathers = (
            MemoryGather(self._scores_grads, self._queries, reach),
            MemoryGather(self._probs, self._context_grads, reach),
        )

    def window(self, t: int) -> Keys:
        """What position t sees."""
        if t not in self._windows:
            cut = self.windows.cut
            positions = self._positions
            if positions is not None:
                positions = positions[len(positions) - self.windows.width(t) :]
            keys, values = cut(t, self._keys, 1), cut(t, self._values, 1)
            bias, hidden = self.windows.bias(t), self.windows.hidden(t)
            self._windows[t] = Keys(keys, values, bias, hidden, positions)
        return self._windows[t]

    def probs(self, reader: int, t: int) -> Tensor:
        """`(BH, 1, width)`: where a layer's probabilities at position t are kept."""
        return self._columns(self._probs_of[reader][t], t)

    def scores(self, reader: int, t: int) -> Tensor:
        """`(BH, 1, width)`: where the gradients of its scores are kept."""
        return self._columns(self._scores_of[reader][t], t)

    def gather(self, t: int) -> tuple[Tensor, Tensor]:
        """The gradients `(BH, 1, D)` of position t's key and value, once all later steps are done.

        There must be a later position, and positions must come from the last to the first.
        """
        keys, values = self._gathers
        return keys.sum(t), values.sum(t)

    def gather_before(self, count: int) -> tuple[Tensor, Tensor]:
        """The gradients `(BH, count, D)` of carried keys and values, once all steps are done."""
        keys, values = self._gathers
        return keys.sum_before(count), values.sum_before(count)

    def position_gradients(self) -> Tensor:
        """Of the position keys, `(W, D)`."""
        # A position that sees nothing has written nothing.
        first = self.windows.first_reader
        scores = self._scores_grads[first:].reshape(-1, self._scores_grads.size(-1))
        return scores.t().mm(self._queries[first:].reshape(-1, self._keys.size(2)))

    def _by_reader(self, block: Tensor, tape: Tape) -> list[Slots]:
        return [Slots(x, tape.num_steps) for x in block.unbind(1)]

    def _columns(self, x: Tensor, t: int) -> Tensor:
        """The last columns: whatever the width, column W - d is the memory at distance d."""
        width = self.windows.width(t)
        return x if width == x.size(-1) else x[..., x.size(-1) - width :]
