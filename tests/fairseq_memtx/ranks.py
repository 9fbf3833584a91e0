"""Two processes that train together.

They come from a server that has imported what they need, so that each starts at once, but never
computed: a process forked from one whose products ran on several threads may wait for those for
ever.
"""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

PRELOADED = ["tests.fairseq_memtx.tiny", "tests.fairseq_memtx.tiny_training"]


def run_two_processes(target: Callable[..., None], *args: Any, seconds: float = 300) -> None:
    """Run `target(rank, *args)` for the ranks 0 and 1; both must end well, and in time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    processes = [context.Process(target=target, args=(rank, *args)) for rank in range(2)]
    deadline = time.monotonic() + seconds
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        assert [process.exitcode for process in processes] == [0, 0]
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
