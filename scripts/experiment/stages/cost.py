"""What an experiment's trainings cost on this machine: the stage `cost`, run only when named.

``python -m scripts.experiment wmt14 --stages prepare,cost`` makes a few updates of each shape, by
the experiment's own command line, and writes hours and memory of the whole beside the records.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from typing import Any

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes, write_json
from fairseq_memtx.training_log import LogReader
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run, RunFolder
from scripts.experiment.plan import Plan
from scripts.experiment.stages import prepare
from scripts.experiment.stages.train import RunTraining, train_each
from scripts.shared import publishing
from scripts.shared.provenance import git_state, hardware

logger = logging.getLogger(__name__)

#: Updates between lines of the log; the first of these are not counted.
INTERVAL = 10
UPDATES = 4 * INTERVAL
FLAGS = ("--no-save", "--disable-validation")
HEADER = ("decoder", "layers", "width", "target tokens/s", "whole training", "memory of a process")


@dataclass
class Pace(RunTraining):
    """A few updates of one shape, to be timed."""

    @property
    def folder(self) -> RunFolder:
        """Beside the runs."""
        return RunFolder(self.experiment_folder.path / "cost" / self.run.shape)

    def found(self) -> dict[str, Any]:
        """Target subwords of an update and in a second of the clock, without the first updates."""
        lines = [e for e in LogReader(self.folder.train_log).poll() if e.kind == "train_inner"]
        lines = lines[-UPDATES // INTERVAL :]
        if len(lines) < 2:
            raise UserError(
                f"`{self.folder.train_log}` tells no pace: remove the folder, try again"
            )
        tokens = sum(line.values["wpb"] for line in lines[1:]) / (len(lines) - 1)
        seconds = lines[-1].values["wall"] - lines[0].values["wall"]
        made = lines[-1].updates - lines[0].updates
        summary = json.loads(self.folder.result("train").read_bytes())
        return {
            "target_tokens_per_update": round(tokens, 1),
            "target_tokens_per_second": round(tokens * made / max(seconds, 1.0), 1),
            "peak_memory_bytes": summary["peak_memory_bytes"],
        }


def pace(experiment: Experiment, folder: ExperimentFolder, run: Run, threads: int) -> Pace:
    """A few updates of a run's shape, without its curriculum: all lengths are among them."""
    training = replace(
        experiment.training,
        max_update=UPDATES,
        max_epoch=0,
        patience=0,
        save_interval_updates=0,
        log_interval=INTERVAL,
        extra=(*experiment.training.extra, *FLAGS),
    )
    shape = Run(run.decoder, run.depth, run.seed, width=run.width)
    return Pace(replace(experiment, training=training), folder, shape, threads)


def target_tokens(experiment: Experiment, folder: ExperimentFolder, per_update: float) -> float:
    """Target subwords of a whole training, if nothing but its limits ends it."""
    training = experiment.training
    limits = []
    if training.max_update:
        limits.append(training.max_update * per_update)
    if training.max_epoch:
        prepared = prepare.read_prepared(folder)
        epoch = prepared["stages"]["encode"]["subwords"][1] + prepared["pairs"]["train"]
        limits.append(training.max_epoch * epoch)
    return min(limits)


def cost_all(plan: Plan) -> None:
    """Time a few updates of each shape, one after the other, and write what all of them cost."""
    publishing.check_checkout(plan.place)
    experiment, folder, threads = plan.experiment, plan.folder, plan.threads
    paces = {run.shape: pace(experiment, folder, run, threads) for run in plan.runs}
    train_each(list(paces.values()), at_once=1)
    commit, dirty = git_state()
    rows = []
    for shape, one in paces.items():
        found = one.found()
        whole = target_tokens(experiment, folder, found["target_tokens_per_update"])
        hours = whole / found["target_tokens_per_second"] / 3600
        width = experiment.model.at_width(one.run.width).embed_dim
        named = {"decoder": one.run.decoder, "depth": one.run.depth, "width": width}
        rows.append({**named, **found, "target_tokens": round(whole), "hours": round(hours, 1)})
        logger.info("%s: about %.1f hours", shape, hours)
    record = {
        "experiment": experiment.name,
        "command": plan.command,
        "commit": commit,
        "dirty": dirty,
        "hardware": hardware(experiment.device),
        "threads": threads,
        "updates": UPDATES - INTERVAL,
        "rows": rows,
    }
    write_json(plan.place / "cost.json", record)
    write_bytes(plan.place / "cost.md", page(record).encode())


def page(record: dict) -> str:
    """The table of costs."""
    lines = [f"# What {record['experiment']} costs", ""]
    lines += ["| " + " | ".join(HEADER) + " |", "| --- |" + " ---: |" * (len(HEADER) - 1)]
    for row in record["rows"]:
        memory = row["peak_memory_bytes"]
        cells = (
            *(row["decoder"], str(row["depth"]), str(row["width"])),
            f"{row['target_tokens_per_second']:,.0f}",
            f"{row['hours']:,.1f} h",
            "" if memory is None else f"{memory / 2**20:,.0f} MiB",
        )
        lines.append("| " + " | ".join(cells) + " |")
    seen = record["hardware"]
    lines += [
        "",
        f"From {record['updates']} updates of each by the clock, {record['threads']} thread(s),"
        f" {seen['cpu']} ({seen['cores']} cores), device {seen['device']}. Whole training: to its"
        " limit of updates or epochs, without validations; patience may end it before. Memory is"
        f" that of the host. Commit {record['commit'][:12]}"
        f"{' with changes' if record['dirty'] else ''}.",
    ]
    return "\n".join(lines) + "\n"
