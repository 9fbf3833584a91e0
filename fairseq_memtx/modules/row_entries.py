"""Entries of several rows side by side, where some rows have fewer: they stand to the right.

Size legend: B rows, M entries that can be read, memories or states, n of the longest row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def last_entries(
    entries: Tensor, hidden: Tensor | None, size: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The last `size` existing entries of each sentence, in order, standing to the right.

    Args:
        entries: `(B, M, ...)`.
        hidden: `(B, M)`, True where one does not exist, or None where all do.
        size: how many; fewer come back where no sentence has so many.

    Returns:
        The entries `(B, n, ...)`, their mask `(B, n)` or None, and which they were `(B, n)`
        (None for the last n in place).
    """
    first = max(entries.size(1) - size, 0)
    if hidden is None or not bool(hidden.any()):
        return entries[:, first:], None, None
    exists = ~hidden
    size = min(size, int(exists.sum(dim=1).max()))
    # A stable sort puts what does not exist in front and keeps the others' order.
    order = exists.to(torch.uint8).argsort(dim=1, stable=True)[:, hidden.size(1) - size :]
    index = order.view(*order.shape, *[1] * (entries.dim() - 2)).expand(-1, -1, *entries.shape[2:])
    kept = hidden.gather(1, order)
    return entries.gather(1, index), kept if bool(kept.any()) else None, order


def standing_right(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Rows of different lengths as one tensor, zeros before the shorter ones.

    Args:
        rows: B tensors `(M, ...)`.

    Returns:
        `(B, n, ...)` and a mask `(B, n)`, True where no entry stands, or None where all do.
    """
    size = max(len(row) for row in rows)
    if all(len(row) == size for row in rows):
        return torch.stack(list(rows)), None
    joined = rows[0].new_zeros(len(rows), size, *rows[0].shape[1:])
    hidden = torch.ones(len(rows), size, dtype=torch.bool, device=joined.device)
    for number, row in enumerate(rows):
        if len(row) > 0:
            joined[number, size - len(row) :] = row
            hidden[number, size - len(row) :] = False
    return joined, hidden
