"""What a benchmark of training needs on a GPU: a clock that waits for it, its peak of memory.

A GPU works on its own: a step has ended for Python when it is queued. As in a training, steps
follow each other without waiting; the clock is read before and after several of them.
"""

from __future__ import annotations

import gc
import time
from typing import Any

from fairseq_memtx.ground.errors import UserError
from scripts.shared import benchmark
from scripts.shared.benchmark import Step

# Steps between two readings of the clock. The first runs of a contender are at least as many: an
# engine that records a shape of batch does so at its second sight.
STEPS = 10


def require() -> None:
    """Check that there is a GPU.

    Raises:
        UserError: if not.
    """
    import torch

    if not torch.cuda.is_available():
        raise UserError("`--device` is cuda, but torch finds no GPU here")


def measure(steps: dict[str, Step], rounds: int) -> dict[str, dict]:
    """Seconds of a step in each round and peak memory in bytes, by contender."""
    found = benchmark.measure(
        {name: _several(step) for name, step in steps.items()}, rounds, clock, peak_bytes
    )
    for measured in found.values():
        measured["seconds"] = [round(seconds / STEPS, 6) for seconds in measured["seconds"]]
    return found


def clock() -> float:
    """Seconds, read when the GPU has done all that it was given."""
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def peak_bytes(step: Step) -> int:
    """By how much a contender's first steps raise the memory that is in use on the GPU.

    Its recordings, if it makes any, are made in them, and their memory counts.
    """
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def forget_recordings() -> None:
    """Give back the memory of earlier cases' recordings, in which later ones would fit for free."""
    from fairseq_memtx.engine.gpu import cuda_graphs

    cuda_graphs.forget_recordings()
    gc.collect()  # the earlier models too


def provenance() -> dict[str, Any]:
    """What a record says of the GPU."""
    import torch

    return {
        "clock": "wall",
        "gpu": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda,
        "steps_at_once": STEPS,
    }


def _several(step: Step) -> Step:
    def steps() -> None:
        for _ in range(STEPS):
            step()

    return steps
