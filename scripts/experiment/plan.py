"""What the stages of one command hand on to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run


@dataclass(frozen=True)
class Plan:
    """The runs that a stage works on, and how.

    Attributes:
        experiment: what is trained and measured.
        folder: where it lies.
        runs: those that the command asks for.
        at_once: trainings, or translations, side by side.
        threads: of each of them.
        place: where records, tables and plots go.
        command: the line that asked for it, for the records.
        comet: the COMET checkpoint to score with besides; None for none.
    """

    experiment: Experiment
    folder: ExperimentFolder
    runs: Sequence[Run]
    at_once: int = 1
    threads: int = 1
    place: Path = Path("results")
    command: str = ""
    comet: Path | None = None
