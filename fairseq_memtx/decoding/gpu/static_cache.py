"""Keys and values of the past in a beam search, on tensors that stay where they are.

Like `beam_cache`, but with room for a fixed number of positions and with the newest one told by a
tensor, so that the same operations on the same memory serve every step: what a CUDA graph wants.

Size legend: B sentences, beam (rows of a sentence at most), N = B * beam, kinds of entries (keys
and values of each projection), H heads, D head dimension, T positions that there is room for.
"""

import torch
from torch import Tensor


class StaticCache:
    """A view of the tensors that hold the past; see `fused.PastCache`.

    What is hidden is so by the least finite number: where all is hidden, as from the first position
    of a Feedback decoder, the answer is the mean of the slots, zero while they are.

    Args:
        slots: `(kinds, B, H, T, beam, D)`, zero at first.
        bias: `(B, beam, T, beam)`, what the rows of a sentence add to its slots' scores: zero or,
            at first everywhere, the least number.
        position: `(1,)`, the newest position.
    """

    def __init__(self, slots: Tensor, bias: Tensor, position: Tensor):
        self._slots, self._bias, self._position = slots, bias, position
        self.num_sentences = slots.size(1)
        self.length = slots.size(3) * slots.size(4)
        size = bias.size(1)
        hidden = bias.new_full((size, size), torch.finfo(bias.dtype).min)
        self._own = hidden.fill_diagonal_(0.0)[:, None].expand(len(bias), size, 1, size)

    def open(self, rows: int) -> None:
        """Let each row see its own slot of the newest position."""
        self._bias.index_copy_(2, self._position, self._own)

    def write(self, kind: int, entries: Tensor) -> None:
        """Fill the newest slots of the kinds from `kind` on with entries `(N, p, C)`."""
        kinds, heads, size = entries.size(1), self._slots.size(2), self._bias.size(1)
        # (N, p, C) -> (B, beam, p, H, D) -> (p, B, H, 1, beam, D)
        entries = entries.view(self.num_sentences, size, kinds, heads, -1)
        entries = entries.permute(2, 0, 3, 1, 4).unsqueeze(3)
        self._slots[kind : kind + kinds].index_copy_(3, self._position, entries)

    def read(self, kind: int) -> Tensor:
        """Entries `(B, H, T * beam, D)` of a kind, a view."""
        return self._slots[kind].flatten(2, 3)

    @property
    def bias(self) -> Tensor:
        """`(B, beam, T * beam)`, a view."""
        return self._bias.flatten(2, 3)

    def move(self, parents: Tensor) -> None:
        """Row i of each sentence continues its row `parents[i]` `(B, beam)`."""
        index = parents[:, :, None, None].expand_as(self._bias)
        self._bias.copy_(self._bias.gather(1, index))
