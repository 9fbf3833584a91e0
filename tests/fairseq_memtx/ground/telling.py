"""A worker's task that tells in which process it runs."""

import os
import time
from collections.abc import Callable


def make_telling() -> Callable[[int], int]:
    return tell


def tell(item: int) -> int:
    time.sleep(0.05)
    return os.getpid()
