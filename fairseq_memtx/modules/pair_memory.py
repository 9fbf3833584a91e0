"""What a model whose encoder remembers too has read: sources and targets of the same sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .carried_memory import CarriedMemory
from .segment_memory import SegmentMemory


@dataclass(frozen=True)
class PairMemory:
    """The memories of an encoder and a decoder, row by row of the same documents.

    Both are read, left, kept and given up together, so that neither can be that of another
    sentence.

    Attributes:
        source: the encoder's.
        target: the decoder's.
    """

    source: SegmentMemory
    target: SegmentMemory | CarriedMemory

    @property
    def num_rows(self) -> int:
        """How many rows, B."""
        return self.source.num_rows

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.source.device

    def detach(self) -> "PairMemory":
        """The same memory without its gradient history: gradients end here."""
        return self._map(lambda memory: memory.detach())

    def to(self, device: torch.device | str) -> "PairMemory":
        """The same memory on `device`."""
        return self._map(lambda memory: memory.to(device))

    def reorder(self, new_order: Tensor) -> "PairMemory":
        """Row i of the result is row `new_order[i]` (int64, any length, repeats allowed)."""
        return self._map(lambda memory: memory.reorder(new_order))

    def split(self) -> list["PairMemory"]:
        """Each row by itself, without entries that do not exist; copies."""
        targets: Sequence[Any] = self.target.split()
        return [PairMemory(*row) for row in zip(self.source.split(), targets, strict=True)]

    @classmethod
    def join(cls, rows: Sequence["PairMemory | None"]) -> "PairMemory":
        """Rows of one each as rows of one memory; None is an empty one, and not all are."""
        some = next(row for row in rows if row is not None)
        sources = [None if row is None else row.source for row in rows]
        targets: Sequence[Any] = [None if row is None else row.target for row in rows]
        return cls(SegmentMemory.join(sources), type(some.target).join(targets))

    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return self.source.size_bytes() + self.target.size_bytes()

    def _map(self, change: Callable[[Any], Any]) -> "PairMemory":
        return PairMemory(change(self.source), change(self.target))


def source_side(memory: Any) -> SegmentMemory | None:
    """What the encoder remembers; None for nothing, as where only the decoder does."""
    return memory.source if isinstance(memory, PairMemory) else None


def target_side(memory: Any) -> Any:
    """What the decoder remembers; None for nothing."""
    return memory.target if isinstance(memory, PairMemory) else memory


def memory_option(memory: Any) -> dict[str, Any]:
    """The argument of an encoder or a decoder that begins with a memory; none for None."""
    return {} if memory is None else {"memory": memory}
