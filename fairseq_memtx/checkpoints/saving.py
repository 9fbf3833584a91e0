"""Writing a checkpoint into an open file, with errors that say what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO


def save(state: Mapping[str, Any], file: BinaryIO) -> None:
    """`torch.save`.

    Raises:
        OSError: where the system refuses to write; torch's writer hides that behind an error of its
            own, which says nothing of a full disk.
    """
    import torch

    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
