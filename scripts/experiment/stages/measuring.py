"""The stage `measure`: the speed of all runs side by side, differences, and a record of each."""

from __future__ import annotations

import json
import logging
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from fairseq_memtx.ground import processes, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from fairseq_memtx.ground.stamps import Stamps
from scripts.experiment import commands, course
from scripts.experiment.folders import Run
from scripts.experiment.plan import Plan
from scripts.experiment.recipes import RECIPES
from scripts.experiment.stages import prepare, records, stamps
from scripts.experiment.stages.generate import check_learnt
from scripts.experiment.stages.significance import compare
from scripts.experiment.stages.train import RunTraining
from scripts.shared import publishing

logger = logging.getLogger(__name__)


def measure_all(plan: Plan) -> None:
    """Measure the speed with each beam, compare the translations, and write the records."""
    publishing.check_checkout(plan.place)
    records.check_schema(plan.place / "records")
    experiment, folder, runs = plan.experiment, plan.folder, plan.runs
    check_learnt(experiment, folder, runs)
    speeds = {beam: SpeedStage(plan, beam).measure() for beam in experiment.decoding.beams}
    for run in runs:
        decoding = [
            {**found[run.name], "difference": compare(experiment, folder, run, runs, beam)}
            for beam, found in speeds.items()
        ]
        record = records.assemble(plan, run, decoding)
        logger.info("record: %s", records.write(record, plan.place / "records"))
    curricula = [run for run in runs if RECIPES[run.recipe].has_curriculum]
    if curricula:
        note_course(plan, curricula[0])


def note_course(plan: Plan, run: Run) -> None:
    """Keep beside the records which corpora the first epoch of a curriculum is made of."""
    folder = plan.folder
    training = RunTraining(plan.experiment, folder, run, 1)
    data_bin, out = folder.data_of(run) / "bin", folder.path / course.FILE
    docids = data_bin / "train.docid"
    command = ["python", "-m", "scripts.experiment.course", "--out", str(out)]
    command += ["--docids", str(docids)] if docids.exists() else []
    command += ["--train-args", *training.command[1:]]

    def work() -> dict:
        if processes.run_visibly(shell.executable(command)) != 0:
            raise UserError("counting the curriculum's course failed, see above")
        return {}

    Stamps(folder.path).run("course", training.inputs(), [out], work)
    line = shlex.join(commands.told(command, folder.path))
    write_json(plan.place / course.FILE, {"command": line, **json.loads(out.read_bytes())})


@dataclass(frozen=True)
class SpeedStage:
    """The measurement of all runs with one beam, in one process."""

    plan: Plan
    beam: int

    @property
    def out(self) -> Path:
        """What was found."""
        return self.plan.folder.speed(self.beam)

    def command(self) -> list[str]:
        """The command line of the measurement."""
        experiment, folder = self.plan.experiment, self.plan.folder
        return commands.measure_command(
            replace(experiment, decoding=experiment.decoding.at_beam(self.beam)),
            folder.data_bin,
            {run.name: folder.run(run).averaged for run in self.plan.runs},
            self.out,
            self.plan.threads,
            prepare.tokenizer(folder),
        )

    def measure(self) -> dict[str, dict]:
        """What was found of each run, by its name; measured unless that is done."""
        command, folder = self.command(), self.plan.folder
        told = commands.told(command, folder.path)
        models = {
            run.name: stamps.output_hash(folder.run(run), "average", folder.run(run).averaged)
            for run in self.plan.runs
        }

        def work() -> dict:
            if processes.run_visibly(shell.executable(command), self.plan.threads) != 0:
                raise UserError("measuring the speed failed, see above")
            return {}

        inputs = {"command": told, "models": models}
        Stamps(folder.path).run(f"measure-beam{self.beam}", inputs, [self.out], work)
        line = shlex.join(told)
        found = json.loads(self.out.read_bytes())
        return {name: {"beam": self.beam, "command": line, **one} for name, one in found.items()}
