"""Engines: ways to run the Feedback recurrence over a whole target.

All but `parallel`, which approximates, have the same result. An engine is a function from an
`interface.Recurrence` to an `interface.RecurrenceOutput`. Nothing here imports fairseq.
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
