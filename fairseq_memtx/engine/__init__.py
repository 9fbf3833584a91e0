"""Engines: ways to run the Feedback recurrence over a whole target, all with the same result.

An engine is a function from an `interface.Recurrence` to an `interface.RecurrenceOutput`. Nothing
here imports fairseq.
"""

from . import manual, reference
from .interface import Engine, Recurrence, RecurrenceOutput

ENGINES: dict[str, Engine] = {"manual": manual.run, "reference": reference.run}

__all__ = ["ENGINES", "Engine", "Recurrence", "RecurrenceOutput"]
