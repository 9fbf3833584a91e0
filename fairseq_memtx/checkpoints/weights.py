"""The numbers in a checkpoint: no more of them than the file holds, and all of them numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..ground.errors import UserError

if TYPE_CHECKING:
    import torch

#: A weight may stand under several names: an embedding that source, target and output share.
MOST_NAMES = 8
#: Buffers that fairseq never fills.
UNFILLED = ("._float_tensor", ".version")


def check_sizes(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Refuse tensors that repeat a few numbers of the file into many.

    Raises:
        UserError: where all tensors together have more than `MOST_NAMES` times the file's bytes.
    """
    size = os.path.getsize(path)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors(dict(state)))
    if total > MOST_NAMES * size:
        raise UserError(
            f"`{path}` was not loaded: its tensors would take {total:,} bytes, but the file has"
            f" {size:,}. Get the file from a source you trust."
        )


def check_finite(weights: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Refuse weights that are no numbers.

    Raises:
        UserError: at NaN or an infinite value; the message names the weight.
    """
    import torch

    for name, weight in weights.items():
        if not isinstance(weight, torch.Tensor) or name.endswith(UNFILLED):
            continue
        if weight.is_floating_point() and not is_finite(weight):
            raise UserError(
                f"the weight `{name}` in `{path}` has NaN or infinite values: the training has"
                " diverged, use an earlier checkpoint"
            )


def is_finite(weight: torch.Tensor) -> bool:
    """Whether all values are numbers; in one pass, since a sum shows what it is made of."""
    if bool(weight.detach().float().sum().isfinite()):
        return True
    return bool(weight.isfinite().all())  # the sum of large numbers may overflow


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested containers, each name counted, each container once."""
    import torch

    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            waiting += item.values() if isinstance(item, dict) else item
