"""Checkpoints that went wrong, and a disk that is full."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Let the system refuse to write any file beyond `after` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def updates_in(path: Path) -> int:
    """Updates that a checkpoint was saved after."""
    return torch.load(path)["optimizer_history"][-1]["num_updates"]


def cut(path: Path, share: float = 0.5) -> None:
    """Leave only the beginning of a file."""
    os.truncate(path, int(path.stat().st_size * share))
