"""Memory that all recordings share: only one of them is in use at a time.

A recording's tensors lie at fixed places, and those of a large batch take gigabytes. Recordings lie
over each other in one block, so that together they need what the largest of them needs.
"""

import math

import torch
from torch import Tensor

ALIGNMENT = 512  # bytes, as the allocators of accelerators align


class Arena:
    """A block of bytes, from which tensors are cut one behind the other.

    Args:
        num_bytes: of the block.
        device: where it lies.
    """

    def __init__(self, num_bytes: int, device: torch.device):
        self.num_bytes = num_bytes
        self._block = torch.empty(num_bytes, dtype=torch.uint8, device=device)
        self._used = 0

    def rewind(self) -> None:
        """Cut from the start again, over what was cut before."""
        self._used = 0

    def make(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor with the dtype of `like`; not initialised. See `tape.Make`."""
        start, size = self._used, math.prod(shape) * like.element_size()
        self._used += aligned(size)
        assert self._used <= self.num_bytes, "more is cut than was counted"
        return self._block[start : start + size].view(like.dtype).view(shape)


class Counter:
    """Makes ordinary tensors and counts the bytes that an arena for them needs.

    Attributes:
        num_bytes: so far.
    """

    def __init__(self) -> None:
        self.num_bytes = 0

    def make(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor with dtype and device of `like`; not initialised."""
        self.num_bytes += aligned(math.prod(shape) * like.element_size())
        return like.new_empty(shape)


def aligned(size: int) -> int:
    """Bytes that a tensor of `size` bytes takes in an arena."""
    return -(-size // ALIGNMENT) * ALIGNMENT
