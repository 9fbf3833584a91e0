"""Where an experiment keeps its files: one folder for the data, one for each run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Run:
    """One training run, named by what varies in an experiment."""

    decoder: str
    depth: int
    seed: int

    @property
    def name(self) -> str:
        """The run's folder and record, such as ``feedback-d2-s1``."""
        return f"{self.decoder}-d{self.depth}-s{self.seed}"


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """fairseq's ``--save-dir``."""
        return self.path / "checkpoints"

    @property
    def settings(self) -> Path:
        """The resolved settings and full command lines."""
        return self.path / "settings.json"

    @property
    def train_log(self) -> Path:
        """What fairseq-train printed, over all restarts."""
        return self.path / "train.log"

    @property
    def averaged(self) -> Path:
        """The averaged checkpoint that is decoded."""
        return self.path / "averaged.pt"

    @property
    def generate_log(self) -> Path:
        """What fairseq-generate printed."""
        return self.path / "generate.log"

    @property
    def hypotheses(self) -> Path:
        """Detokenised translations, one line for each line of the test set."""
        return self.path / "hypotheses.txt"

    def result(self, stage: str) -> Path:
        """What a stage measured, such as ``score.json``."""
        return self.path / f"{stage}.json"


@dataclass(frozen=True)
class ExperimentFolder:
    """``runs/NAME``: the prepared data, the runs, and the stages common to all runs."""

    path: Path

    @property
    def data(self) -> Path:
        """The layout that data_prep writes."""
        return self.path / "data"

    @property
    def data_bin(self) -> Path:
        """fairseq's binarised data."""
        return self.data / "bin"

    @property
    def prepared(self) -> Path:
        """data_prep's account of what it did."""
        return self.data / "prepared.json"

    @property
    def speed(self) -> Path:
        """What ``scripts.shared.measure`` found, for all runs."""
        return self.path / "speed.json"

    def reference(self, split: str, language: str) -> Path:
        """Untouched text of ``split``, in the order of the binarised pairs."""
        return self.data / "refs" / f"{split}.{language}"

    def run(self, run: Run) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.path / run.name)
