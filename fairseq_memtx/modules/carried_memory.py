"""Feedback memories that outlive their text: the keys and values of the positions before it.

Fan et al. 2020 (arXiv 2002.09402) train their language model on consecutive blocks of text, each of
which reads the memories that the blocks before have left; gradients end there. Over sentences of a
document they can go back through several (`lane_memory`).

Deviation from the authors' code, which keeps the memory vectors and projects them anew in every
block: here keys and values are kept, as a search keeps them, so that the projections learn from the
memories of the block itself.

Size legend: B rows, P positions, G pairs of projections, H heads, D head dimension.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .row_entries import last_entries, standing_right


@dataclass(frozen=True)
class CarriedMemory:
    """The memories of P positions before a text, the position just before it last.

    Attributes:
        keys, values: `(G, B, H, P, D)`; with a gradient history only where gradients go back
            through several texts.
        hidden: `(B, P)`, True where an entry must not be read: a padding symbol, or a
            position of another text, where a row begins anew; None where all may be read.
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor | None = None

    def __len__(self) -> int:
        """How many positions, P."""
        return self.keys.size(3)

    @property
    def num_rows(self) -> int:
        """How many rows, B."""
        return self.keys.size(1)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.keys.device

    def entries(self, order: Sequence[int]) -> Tensor:
        """Keys and values in turn, `(2G, B, H, P, D)`, of the pairs in this order."""
        return torch.stack([self.keys[order], self.values[order]], dim=1).flatten(0, 1)

    def detach(self) -> "CarriedMemory":
        """The same memory without its gradient history: gradients end here."""
        return self._map(torch.Tensor.detach, torch.Tensor.detach)

    def to(self, device: torch.device | str) -> "CarriedMemory":
        """The same memory on `device`."""
        return self._map(lambda x: x.to(device), lambda mask: mask.to(device))

    def reorder(self, new_order: Tensor) -> "CarriedMemory":
        """Row i of the result is row `new_order[i]` (int64, any length, repeats allowed)."""
        return self._map(
            lambda x: x.index_select(1, new_order), lambda mask: mask.index_select(0, new_order)
        )

    def begin_anew(self, rows: Tensor) -> "CarriedMemory":
        """The same memory, of which `rows` `(B,)` (True) may read nothing."""
        return replace(self, hidden=self.hidden_mask() | rows[:, None])

    def last(self, size: int) -> "CarriedMemory":
        """The last `size` entries, or all if there are fewer."""
        first = max(len(self) - size, 0)
        return self._map(lambda x: x[:, :, :, first:], lambda mask: mask[:, first:])

    def last_readable(self, size: int) -> "CarriedMemory":
        """The last `size` entries of each row that may be read, standing to the right.

        A batch pads the shorter of its texts; without the padding a row holds what it would hold
        in a batch of its own, at the same distances.
        """
        keys, hidden, _ = last_entries(self._by_row(self.keys), self.hidden, size)
        values, _, _ = last_entries(self._by_row(self.values), self.hidden, size)
        return CarriedMemory(self._by_kind(keys), self._by_kind(values), hidden)

    def split(self) -> list["CarriedMemory"]:
        """Each row by itself, without entries that must not be read; copies."""
        hidden = None if self.hidden is None else self.hidden.cpu()
        rows = []
        for row in range(self.num_rows):
            seen = slice(None) if hidden is None else (~hidden[row]).nonzero().squeeze(1)
            keys, values = (x[:, row : row + 1, :, seen].clone() for x in (self.keys, self.values))
            rows.append(CarriedMemory(keys, values))
        return rows

    @classmethod
    def join(cls, rows: Sequence["CarriedMemory | None"]) -> "CarriedMemory":
        """Rows of one each as rows of one memory, standing to the right; None is an empty one.

        At least one of them is not None, and none has hidden entries.
        """
        some = next(row for row in rows if row is not None)
        entries = []
        for name in ("keys", "values"):
            empty = cls._by_row(getattr(some, name))[0, :0]
            each = [empty if r is None else cls._by_row(getattr(r, name))[0] for r in rows]
            entries.append(standing_right(each))
        (keys, hidden), (values, _) = entries
        return cls(cls._by_kind(keys), cls._by_kind(values), hidden)

    @staticmethod
    def _by_row(entries: Tensor) -> Tensor:
        """`(G, B, H, P, D)` -> `(B, P, G, H, D)`."""
        return entries.permute(1, 3, 0, 2, 4)

    @staticmethod
    def _by_kind(entries: Tensor) -> Tensor:
        """`(B, P, G, H, D)` -> `(G, B, H, P, D)`."""
        return entries.permute(2, 0, 3, 1, 4)

    def followed_by(self, later: "CarriedMemory") -> "CarriedMemory":
        """The entries of both, in order, in the dtype of the later ones."""
        mask = None
        if self.hidden is not None or later.hidden is not None:
            mask = torch.cat([self.hidden_mask(), later.hidden_mask()], dim=1)
        keys = torch.cat([self.keys.to(later.keys.dtype), later.keys], dim=3)
        values = torch.cat([self.values.to(later.values.dtype), later.values], dim=3)
        return CarriedMemory(keys, values, mask)

    def hidden_mask(self) -> Tensor:
        """`hidden`, also where that is None."""
        if self.hidden is not None:
            return self.hidden
        return self.keys.new_zeros((self.num_rows, len(self)), dtype=torch.bool)

    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        tensors = [x for x in (self.keys, self.values, self.hidden) if x is not None]
        return sum(x.numel() * x.element_size() for x in tensors)

    def _map(
        self, entries: Callable[[Tensor], Tensor], mask: Callable[[Tensor], Tensor]
    ) -> "CarriedMemory":
        hidden = None if self.hidden is None else mask(self.hidden)
        return CarriedMemory(entries(self.keys), entries(self.values), hidden)


def num_past(memory: CarriedMemory | None) -> int:
    """How many positions a memory has; 0 for None."""
    return 0 if memory is None else len(memory)
