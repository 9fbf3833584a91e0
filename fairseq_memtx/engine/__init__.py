"""Engines: ways to run the Feedback recurrence over a whole target.

All but `sweeps`, which approximates, have the same result. An engine is a function from a
`Recurrence` to a `RecurrenceOutput`, both in `interface`. Nothing here imports fairseq.

Where to look for what:

- the engines: `reference` (the plain loop, to be read first), `manual`, `sweeps`;
  `checkpointing` runs an exact one again, a piece at a time, for its backward
- in `manual`, an autograd function, a `stack_run` goes forward and back: at each position through
  a `layer_run` for each layer, then through the `memory_run`
- a layer's parts: `attention_sublayers` and `sublayers`, with their `attention_step`, `activation`
  and `norm`
- the memory's parts: `mixture_run`, from the states to the channels' memories; `memory_reads`, its
  keys and values as the layers see them, and `memory_gather`, the gradients that come back from
  there
- what all these write to: the buffers of a `tape`, and the sums of `gradients`; `gemm` has the
  products with weights
- `gpu` is apart: `cuda-graphs`, the manual engine recorded on a GPU
- in `sweeps`, `block_memory` is what the positions of a block see
"""

from ..ground.registry import Registry
from .gpu.cuda_graphs import run_cuda_graphs
from .interface import Engine, Recurrence, RecurrenceOutput
from .manual import run_manual
from .reference import run_reference
from .sweeps import Sweeps

#: Tags: an approximation, for training alone; can be run again, piece by piece, for its backward.
APPROXIMATE, RUNS_AGAIN = "approximate", "runs again"

ENGINES: Registry[Engine] = Registry("engine")
ENGINES.add(
    "cuda-graphs",
    run_cuda_graphs,
    "like manual, recorded on a GPU once for each shape of batch and replayed; elsewhere manual",
)
ENGINES.add("manual", run_manual, "hand-written backward, fast", tags=[RUNS_AGAIN])
ENGINES.add(
    "parallel",
    Sweeps(),
    "sweeps over many positions at once, an approximation for devices that are busy launching the"
    " loop's small operations; validation, scoring and decoding stay exact",
    tags=[APPROXIMATE],
)
ENGINES.add("reference", run_reference, "the plain loop; same results", tags=[RUNS_AGAIN])

__all__ = [
    "APPROXIMATE",
    "ENGINES",
    "RUNS_AGAIN",
    "Engine",
    "Recurrence",
    "RecurrenceOutput",
    "Sweeps",
]
