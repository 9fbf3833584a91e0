"""Engines: ways to run the Feedback recurrence over a whole target.

All but `parallel`, which approximates, have the same result. An engine is a function from a
`Recurrence` to a `RecurrenceOutput`, both in `interface`. Nothing here imports fairseq.

Where to look for what:

- the engines: `reference` (the plain loop, to be read first), `manual`, `cuda_graphs`, `parallel`;
  `checkpointing` runs an exact one again, a piece at a time, for its backward
- in `manual`, an autograd function, a `stack_run` goes forward and back: at each position through
  a `layer_run` for each layer, then through the `memory_run`
- a layer's parts: `attention_sublayers` and `sublayers`, with their `attention_step`, `activation`
  and `norm`
- the memory's parts: `memory_reads`, its keys and values as the layers see them, and
  `memory_gather`, the gradients that come back from there
- what all these write to: the buffers of a `tape`, and the sums of `gradients`; `gemm` has the
  products with weights
- in `cuda_graphs`, `replay` chooses between the loops and a `recording` of them, which serves all
  batches whose sizes are the same after `rounded_sizes` and lies in the memory of an `arena`
- in `parallel`, `block_memory` is what the positions of a block see
"""

from . import cuda_graphs, manual, reference
from .interface import Engine, Recurrence, RecurrenceOutput
from .parallel import Sweeps

ENGINES: dict[str, Engine] = {
    "cuda-graphs": cuda_graphs.run,
    "manual": manual.run,
    "parallel": Sweeps(),
    "reference": reference.run,
}

__all__ = ["ENGINES", "Engine", "Recurrence", "RecurrenceOutput", "Sweeps"]
