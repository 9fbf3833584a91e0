"""The stage `search`: a short, recorded look for the learning rate and warm-up of each shape.

``python -m scripts.experiment multi30k --stages search`` is this stage alone. Each trial is a
training in a folder of its own, which goes on where it was interrupted; see `LearningSearch`.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairseq_memtx.ground.files import write_json
from fairseq_memtx.ground.processes import Job
from fairseq_memtx.ground.stamps import Stamps
from scripts.experiment.configs import Experiment, LearningSearch
from scripts.experiment.folders import ExperimentFolder, Run, RunFolder
from scripts.experiment.plan import Plan
from scripts.experiment.stages import prepare
from scripts.experiment.stages.learning import at_rate
from scripts.experiment.stages.train import RunTraining, needs, train_each

logger = logging.getLogger(__name__)

#: What fairseq ends a training with whose numbers are none.
DIVERGED = ("FloatingPointError", "Minimum loss scale reached", "Nan detected", "NaN detected")


@dataclass
class Trial(RunTraining):
    """A short training with one learning rate and warm-up."""

    @property
    def folder(self) -> RunFolder:
        """The trial's folder, below that of its shape's search."""
        training = self.experiment.training
        name = f"lr{training.lr:g}-warmup{training.warmup_updates}"
        return RunFolder(self.experiment_folder.search(self.run) / name)

    @property
    def name(self) -> str:
        """Shape, learning rate and warm-up."""
        return f"{self.run.shape}-{self.folder.path.name}"

    def check_failure(self, job: Job) -> None:
        """A loss that is no number is an outcome; anything else is an error."""
        if not any(word in job.log_tail(40) for word in DIVERGED):
            super().check_failure(job)
        logger.info("%s: diverged", self.name)

    def finish(self) -> None:
        """Stamp the trial as done; its weights are of no further use."""
        super().finish()
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)

    def outcome(self) -> dict[str, Any]:
        """The rate, the warm-up, and what came of them; no loss where the training diverged."""
        training = self.experiment.training
        found = json.loads(self.folder.result("train").read_bytes())
        loss = found.get("valid_nll_loss")
        return {
            "lr": training.lr,
            "warmup_updates": training.warmup_updates,
            "valid_nll_loss": loss if loss is not None and math.isfinite(loss) else None,
            "processor_seconds": found["processor_seconds"],
        }


@dataclass(frozen=True)
class ShapeSearch:
    """The search for one shape of model."""

    experiment: Experiment
    search: LearningSearch
    folder: ExperimentFolder
    run: Run
    threads: int

    def trial(self, lr: float, warmup_updates: int) -> Trial:
        """The training with a learning rate and a warm-up."""
        training = replace(
            self.experiment.training,
            max_update=self.search.updates,
            max_epoch=0,
            patience=0,
            save_interval_updates=0,
            extra=(*self.experiment.training.extra, "--no-epoch-checkpoints"),
        )
        experiment = at_rate(replace(self.experiment, training=training), lr, warmup_updates)
        return Trial(experiment, self.folder, self.run, self.threads)

    def rates(self) -> list[Trial]:
        """All learning rates, with the first warm-up."""
        return [self.trial(lr, self.search.warmups[0]) for lr in self.search.lrs]

    def warmups(self) -> list[Trial]:
        """The other warm-ups, with the best learning rate."""
        lr = best([trial.outcome() for trial in self.rates()])["lr"]
        return [self.trial(lr, warmup) for warmup in self.search.warmups[1:]]

    @property
    def path(self) -> Path:
        """The shape's folder."""
        return self.folder.search(self.run)

    def is_done(self) -> bool:
        """Whether it was done for this data; what was begun with one choice keeps to it."""
        try:
            found = json.loads((self.path / "search.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        return found["data_sha256"] == prepare.data_hash(self.folder)

    def finish(self) -> None:
        """Write what was found."""
        trials = [*self.rates(), *self.warmups()]
        tried = [trial.outcome() for trial in trials]
        chosen = best(tried)
        found: dict[str, Any] = {
            "chosen": {"lr": chosen["lr"], "warmup_updates": chosen["warmup_updates"]},
            "tried": tried,
            "updates": self.search.updates,
            "seed": self.run.seed,
            "recipe": self.run.recipe,
            "data_sha256": prepare.data_hash(self.folder),
        }
        inputs = {"trials": [trial.inputs() for trial in trials]}

        def work() -> dict:
            write_json(self.path / "search.json", found)
            return found["chosen"]

        Stamps(self.path).run("search", inputs, [self.path / "search.json"], work)
        logger.info(
            "%s: learning rate %g, warm-up %d updates",
            self.run.shape, chosen["lr"], chosen["warmup_updates"],
        )  # fmt: skip


def best(tried: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The outcome of the least validation loss; of the least learning rate where all diverged."""
    return min(tried, key=lambda one: (one["valid_nll_loss"] or math.inf, one["lr"]))


def search_all(plan: Plan) -> None:
    """Search for every shape among the runs and what they need, unless that is done."""
    experiment, runs = plan.experiment, plan.runs
    search = experiment.search
    if search is None:
        logger.info("all train with learning rate %g", experiment.training.lr)
        return
    every = [*runs, *(need for run in runs if (need := needs(experiment, run)))]
    shapes = {run.shape: Run(run.decoder, run.depth, search.seed, width=run.width) for run in every}
    searches = [
        ShapeSearch(experiment, search, plan.folder, run, plan.threads) for run in shapes.values()
    ]
    waiting = [one for one in searches if not one.is_done()]
    for one in searches:
        if one not in waiting:
            logger.info("%s: searched before", one.run.shape)
    train_each([trial for one in waiting for trial in one.rates()], plan.at_once)
    train_each([trial for one in waiting for trial in one.warmups()], plan.at_once)
    for one in waiting:
        one.finish()
