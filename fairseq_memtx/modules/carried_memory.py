"""Feedback memories that outlive their text: the keys and values of the positions before it.

Fan et al. 2020 (arXiv 2002.09402) train their language model on consecutive blocks of text, each of
which reads the memories that the blocks before have left; gradients end there.

Deviation from the authors' code, which keeps the memory vectors and projects them anew in every
block: here keys and values are kept, as a search keeps them, so that the projections learn from the
memories of the block itself.

Size legend: B rows, P positions, G pairs of projections, H heads, D head dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class CarriedMemory:
    """The memories of P positions before a text, the position just before it last.

    Attributes:
        keys, values: `(G, B, H, P, D)`, without gradient history.
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
