"""The learning rate and warm-up of a run: what the search chose, or the experiment's own."""

from __future__ import annotations

import json
from dataclasses import replace

from fairseq_memtx.ground.errors import UserError
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run


def read_search(folder: ExperimentFolder, run: Run) -> dict | None:
    """What the search found for runs of this shape; None before it is done."""
    try:
        return json.loads((folder.search(run) / "search.json").read_bytes())
    except FileNotFoundError:
        return None


def tuned(experiment: Experiment, folder: ExperimentFolder, run: Run) -> Experiment:
    """The experiment with the learning rate and warm-up of the run.

    Raises:
        UserError: there is to be a search, but it is not done.
    """
    if experiment.search is None:
        return experiment
    found = read_search(folder, run)
    if found is None:
        raise UserError(
            f"the learning rate of {run.shape} is not chosen yet: run the stage `search` first"
        )
    return at_rate(experiment, **found["chosen"])


def at_rate(experiment: Experiment, lr: float, warmup_updates: int) -> Experiment:
    """The experiment with another learning rate and warm-up."""
    training = replace(experiment.training, lr=lr, warmup_updates=warmup_updates)
    return replace(experiment, training=training)
