"""The manual engine on a GPU, its loops captured in CUDA graphs and replayed.

A loop over positions is thousands of small kernels, and launching them one by one from Python takes
longer than they do. A graph launches all of them at once; see `replay` for which batches share one,
and torch's notes on CUDA graphs for the rules that `CudaRecorder` keeps.

Without a GPU the manual engine takes its place, with the same results.
"""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch

from ..interface import Recurrence, RecurrenceOutput
from ..manual import run_manual
from .recording import Work
from .replay import Replayer

logger = logging.getLogger(__name__)

# Part of a GPU's memory that further graphs, of thousands of kernels each, must leave free.
SPARE = 0.1


def run_cuda_graphs(r: Recurrence) -> RecurrenceOutput:
    """Run the recurrence."""
    device = r.inputs.device
    if device.type != "cuda":
        _say_once(f"the engine cuda-graphs needs a GPU: on {device.type} the manual engine runs")
        return run_manual(r)
    return _replayer(device, torch.cuda.current_stream(device).cuda_stream)(r)


@cache
def _replayer(device: torch.device, stream: int) -> Replayer:
    """The recordings of a stream: work on another would not wait for this one's."""
    return Replayer(partial(CudaRecorder, device))


def forget_recordings() -> None:
    """Drop the recordings of all streams, with the memory that they hold."""
    _replayer.cache_clear()


@cache
def _say_once(text: str) -> None:
    logger.warning(text)


class CudaRecorder:
    """Captures work in CUDA graphs that share one pool of memory.

    What the work allocates and nobody holds afterwards may be given to the next capture: graphs of
    one recorder must not run at the same time, nor rely on what an earlier replay left.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        # A pool without any graph is closed for good: this one keeps it open.
        self._anchor = self.record(partial(torch.zeros, 1, device=device))

    def rehearse(self, work: Work) -> None:
        """Do the work on the stream of the captures, where libraries set up their workspaces."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Work) -> Work:
        """Capture the work.

        Raises:
            RuntimeError: where memory is short, or the work holds what a capture forbids.
        """
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        # Other threads (data loading, NCCL's watchdog) may go on with what a capture forbids.
        capture = torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        try:
            with torch.cuda.device(self._device), _no_collection(), capture:
                work()
        except RuntimeError:
            torch.cuda.set_stream(current)  # a capture that fails at its end leaves its own
            raise
        return graph.replay

    def has_room(self) -> bool:
        """Whether the GPU has memory to spare, what torch keeps for later use included."""
        free, total = torch.cuda.mem_get_info(self._device)
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return free + kept > SPARE * total


@contextmanager
def _no_collection() -> Iterator[None]:
    """Destroying what garbage holds (events, graphs) could break a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
