"""Keys and values of the past in a beam search, in slots that never move.

A step writes the entries of all beams of a sentence into new slots. Which of them a beam sees, its
own ancestors, is told by a bias of zeros and minus infinities; when beams change, only that bias
is reordered. Beams share most of their past, so that most slots soon belong to no living beam: when
room runs out, the living ones are moved together. For decoders that look at distances it is known
of each slot how many positions it stands back.

Size legend: B sentences, beam (rows of a sentence at most), R rows a sentence, N = B * R, kinds of
entries (keys and values of each projection), H heads, D head dimension, s slots in use, P positions
before the first.
"""

import torch
from torch import Tensor


class BeamCache:
    """Entries `(kinds, B, H, s, D)` of B sentences.

    Args:
        kinds: how many kinds of entries.
        like: `(B, C)`, for the number of sentences, dtype and device.
        num_heads: H.
        beam_size: with 1 every row sees all slots and there is no bias.
        capacity: slots to make room for at first.
        counts: keep how far back each slot stands, for `distances` and `hide_beyond`.

    Attributes:
        length: s.
        opened: positions since the first, without those before it.
    """

    def __init__(
        self,
        kinds: int,
        like: Tensor,
        num_heads: int,
        beam_size: int,
        capacity: int = 32,
        counts: bool = False,
    ):
        head_dim = like.size(1) // num_heads
        self._slots = like.new_empty((kinds, len(like), num_heads, capacity, head_dim))
        self.num_sentences, self.length = len(like), 0
        self._bias = like.new_zeros((len(like), 1, 0)) if beam_size > 1 else None
        apart = torch.full((beam_size, beam_size), -torch.inf, dtype=like.dtype)
        self._own = apart.fill_diagonal_(0.0).to(like.device)
        self._num_positions = self.opened = 0
        self._positions: Tensor | None = None
        if counts:
            self._positions = torch.empty((len(like), 0), dtype=torch.long, device=like.device)

    def begin_after(self, entries: Tensor, hidden: Tensor | None) -> None:
        """Let all rows see what was before the first position.

        Args:
            entries: `(kinds, B, H, P, D)`, oldest first.
            hidden: `(B, P)`, True where an entry must not be read, or None. A sentence all of whose
                entries are hidden reads zeros at its first position.
        """
        before = entries.size(3)
        if before > self._slots.size(3):
            self._grow(before)
        slots = self._slots[..., :before, :]
        slots.copy_(entries)
        self.length = self._num_positions = before
        if self._positions is not None:
            places = torch.arange(before, device=entries.device)
            self._positions = places.expand(self.num_sentences, before)
        if hidden is not None:
            # Not minus infinity, of which alone a softmax makes NaN: the mean of zeros is zero.
            slots.masked_fill_(hidden[None, :, None, :, None], 0.0)
            self._bias = slots.new_zeros((self.num_sentences, 1, before)).masked_fill_(
                hidden[:, None], torch.finfo(slots.dtype).min / 2
            )
        elif self._bias is not None:
            self._bias = slots.new_zeros((self.num_sentences, 1, before))

    @property
    def reach(self) -> int:
        """Positions so far, those before the first among them."""
        return self._num_positions

    def distances(self) -> Tensor:
        """`(B, s)`: how many positions before the next one each slot was filled, at least 1."""
        assert self._positions is not None, "made without `counts`"
        return self._num_positions - self._positions

    def hide_beyond(self, span: int) -> None:
        """Let no row see slots that are further back than `span` positions."""
        if self._num_positions <= span:
            return
        if self._bias is None:
            self._bias = self._slots.new_zeros((self.num_sentences, 1, self.length))
        self._bias = self._bias.masked_fill((self.distances() > span)[:, None], -torch.inf)

    def open(self, rows: int) -> None:
        """Make room for one position of R rows a sentence; each sees its own."""
        if self.length + rows > self._slots.size(3):
            self._make_room(rows)
        if self._bias is not None:
            own = self._own[:rows, :rows].expand(self.num_sentences, rows, rows)
            self._bias = torch.cat([self._bias, own], dim=2)
        if self._positions is not None:
            opened = self._positions.new_full((self.num_sentences, rows), self._num_positions)
            self._positions = torch.cat([self._positions, opened], dim=1)
        self.length, self._num_positions = self.length + rows, self._num_positions + 1
        self.opened += 1

    def write(self, kind: int, entries: Tensor) -> None:
        """Fill the newest slots of the kinds from `kind` on with entries `(N, p, C)`."""
        rows = len(entries) // self.num_sentences
        kinds, heads = entries.size(1), self._slots.size(2)
        # (N, p, C) -> (B, R, p, H, D) -> (p, B, H, R, D)
        entries = entries.view(self.num_sentences, rows, kinds, heads, -1).permute(2, 0, 3, 1, 4)
        slots = self._slots[kind : kind + kinds, : self.num_sentences]
        slots[..., self.length - rows : self.length, :] = entries

    def read(self, kind: int) -> Tensor:
        """Entries `(B, H, s, D)` of a kind, a view."""
        return self._slots[kind, : self.num_sentences, :, : self.length]

    @property
    def bias(self) -> Tensor | None:
        """`(B, R, s)`: zero where a row sees a slot, else minus infinity; None if it sees all."""
        return self._bias

    def move(self, parents: Tensor, kept: Tensor | None) -> None:
        """Row i of each sentence continues its row `parents[i]` `(B', beam)`; see `Move`."""
        if kept is not None:
            move_sentences(self._slots, 1, kept)
            self.num_sentences = len(kept)
            self._positions = None if self._positions is None else self._positions[kept]
        if self._bias is not None:
            bias = self._bias if kept is None else self._bias[kept]
            self._bias = bias.gather(1, parents.unsqueeze(2).expand(-1, -1, self.length))

    def _make_room(self, rows: int) -> None:
        """Move the slots that someone sees together; take more memory if few are free."""
        seen = self._seen_slots()
        if seen is not None and 2 * (seen.size(1) + rows) <= self._slots.size(3):
            self._gather(seen)
            return
        self._grow(2 * (self.length + rows))

    def _grow(self, capacity: int) -> None:
        """Take memory for so many slots."""
        size = list(self._slots.shape)
        size[3] = capacity
        grown = self._slots.new_empty(size)
        grown[..., : self.length, :] = self._slots[..., : self.length, :]
        self._slots = grown

    def _seen_slots(self) -> Tensor | None:
        """`(B, n)`: slots that a row sees, in order, filled up with others; None without bias."""
        if self._bias is None:
            return None
        seen = (self._bias == 0.0).any(dim=1)
        count = int(seen.sum(dim=1).max())
        return seen.byte().argsort(dim=1, descending=True, stable=True)[:, :count]

    def _gather(self, slots: Tensor) -> None:
        """Keep only `slots` `(B, n)`."""
        assert self._bias is not None
        now = self._slots[:, : self.num_sentences]
        index = slots[None, :, None, :, None].expand(len(now), -1, now.size(2), -1, now.size(4))
        now[..., : slots.size(1), :] = now.gather(3, index)
        self._bias = self._bias.gather(2, slots.unsqueeze(1).expand(-1, self._bias.size(1), -1))
        if self._positions is not None:
            self._positions = self._positions.gather(1, slots)
        self.length = slots.size(1)

    def size_bytes(self) -> int:
        """Bytes of the slots in use, of their bias, and of nothing that is merely reserved."""
        used = self._slots[:, : self.num_sentences, :, : self.length]
        bias = 0 if self._bias is None else self._bias.numel() * self._bias.element_size()
        return used.numel() * used.element_size() + bias


def move_sentences(x: Tensor, dim: int, kept: Tensor) -> None:
    """Let the first places along `dim` hold what stood at the places `kept`, in place.

    Copies only what changes place.
    """
    to = (kept != torch.arange(len(kept), device=kept.device)).nonzero().squeeze(1)
    if len(to) > 0:
        x.index_copy_(dim, to, x.index_select(dim, kept[to]))
