"""Processes that train together.

They come from a server that has imported what they need, so that each starts at once, but never
computed: a process forked from one whose products ran on several threads may wait for those for
ever.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

#: torch's optimizers import the last of them, which takes longer than a tiny training.
PRELOADED = ["tests.fairseq_memtx.tiny", "tests.fairseq_memtx.tiny_training", "torch._dynamo"]


def run_two_processes(target: Callable[..., None], *args: Any, seconds: float = 300) -> None:
    """Run `target(rank, *args)` for the ranks 0 and 1; both must end well, and in time."""
    with processes_of(target, 2, *args) as processes:
        assert ended(processes, seconds) == [0, 0]


@contextmanager
def processes_of(
    target: Callable[..., None], ranks: int, *args: Any
) -> Iterator[list[BaseProcess]]:
    """Start `target(rank, *args)` for each rank; what still runs in the end is killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    processes: list[BaseProcess] = [
        context.Process(target=target, args=(rank, *args)) for rank in range(ranks)
    ]
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()


def ended(processes: Sequence[BaseProcess], seconds: float) -> list[int | None]:
    """Their exit statuses, within so many seconds; None of one that still runs."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    return [process.exitcode for process in processes]
