"""Where an experiment keeps its files: one folder for the data, one for each run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scripts.experiment.recipes import PLAIN, RECIPES


@dataclass(frozen=True, order=True)
class Run:
    """One training run, named by what varies in an experiment."""

    decoder: str
    depth: int
    seed: int
    recipe: str = PLAIN
    width: int = 0  # the embedding dimension, where it is not the experiment's own

    @property
    def shape(self) -> str:
        """What the model is, without how it is trained, such as ``feedback-d2-w128``."""
        width = f"-w{self.width}" if self.width else ""
        return f"{self.decoder}-d{self.depth}{width}"

    @property
    def name(self) -> str:
        """The run's folder and record, such as ``feedback-d2-s1`` or
        ``feedback-d2-w128-curriculum-s1``.
        """
        recipe = "" if self.recipe == PLAIN else f"-{self.recipe}"
        return f"{self.shape}{recipe}-s{self.seed}"


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
    def starts(self) -> Path:
        """The commit of each start of the training, a line of JSON each."""
        return self.path / "starts.jsonl"

    @property
    def train_log(self) -> Path:
        """What fairseq-train printed, over all restarts."""
        return self.path / "train.log"

    @property
    def averaged(self) -> Path:
        """The averaged checkpoint that is decoded."""
        return self.path / "averaged.pt"

    def generate_log(self, beam: int) -> Path:
        """What fairseq-generate printed with this beam."""
        return self.path / f"generate-beam{beam}.log"

    def hypotheses(self, beam: int) -> Path:
        """Detokenised translations, one line for each line of the test set."""
        return self.path / f"hypotheses-beam{beam}.txt"

    def result(self, stage: str) -> Path:
        """What a stage measured, such as ``train.json``."""
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
    def distilled(self) -> Path:
        """Data in the same layout, with a teacher's translations as training targets."""
        return self.path / "distilled"

    def data_of(self, run: Run) -> Path:
        """What a run is trained on."""
        return self.distilled if RECIPES[run.recipe].is_distilled else self.data

    def speed(self, beam: int) -> Path:
        """What ``scripts.shared.measure`` found of all runs with this beam."""
        return self.path / f"speed-beam{beam}.json"

    def reference(self, split: str, language: str) -> Path:
        """Untouched text of ``split``, in the order of the binarised pairs."""
        return self.data / "refs" / f"{split}.{language}"

    def run(self, run: Run) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.path / run.name)

    def search(self, run: Run) -> Path:
        """Where the learning rate for runs of this shape is looked for."""
        return self.path / "search" / run.shape
