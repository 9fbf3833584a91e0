"""The stage `measure`: the speed of all runs side by side, differences, and a record of each."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairseq_memtx.ground import processes, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from fairseq_memtx.ground.stamps import Stamps
from scripts.experiment import commands, course, prepare, records, stages
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.generate import check_learnt
from scripts.experiment.recipes import RECIPES
from scripts.experiment.significance import compare
from scripts.experiment.train import RunTraining
from scripts.shared import publishing

logger = logging.getLogger(__name__)


def measure_all(
    experiment: Experiment,
    folder: ExperimentFolder,
    runs: Sequence[Run],
    threads: int,
    place: Path,
    command: str,
) -> None:
    """Measure the speed with each beam, compare the translations, and write the records."""
    publishing.check_checkout(place)
    records.check_schema(place / "records")
    check_learnt(experiment, folder, runs)
    speeds = {
        beam: SpeedStage(experiment, folder, runs, threads, beam).measure()
        for beam in experiment.decoding.beams
    }
    for run in runs:
        decoding = [
            {**found[run.name], "difference": compare(experiment, folder, run, runs, beam)}
            for beam, found in speeds.items()
        ]
        record = records.assemble(experiment, folder, run, decoding, threads, command)
        logger.info("record: %s", records.write(record, place / "records"))
    curricula = [run for run in runs if RECIPES[run.recipe].has_curriculum]
    if curricula:
        note_course(experiment, folder, curricula[0], place)


def note_course(experiment: Experiment, folder: ExperimentFolder, run: Run, place: Path) -> None:
    """Keep beside the records which corpora the first epoch of a curriculum is made of."""
    training = RunTraining(experiment, folder, run, 1)
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
    write_json(place / course.FILE, {"command": line, **json.loads(out.read_bytes())})


@dataclass(frozen=True)
class SpeedStage:
    """The measurement of all runs with one beam, in one process."""

    experiment: Experiment
    folder: ExperimentFolder
    runs: Sequence[Run]
    threads: int
    beam: int

    @property
    def out(self) -> Path:
        """What was found."""
        return self.folder.speed(self.beam)

    def command(self) -> list[str]:
        """The command line of the measurement."""
        decoding = self.experiment.decoding.at_beam(self.beam)
        return commands.measure_command(
            replace(self.experiment, decoding=decoding),
            self.folder.data_bin,
            {run.name: self.folder.run(run).averaged for run in self.runs},
            self.out,
            self.threads,
            prepare.tokenizer(self.folder),
        )

    def measure(self) -> dict[str, dict]:
        """What was found of each run, by its name; measured unless that is done."""
        command = self.command()
        told = commands.told(command, self.folder.path)
        models = {
            run.name: stages.output_hash(
                self.folder.run(run), "average", self.folder.run(run).averaged
            )
            for run in self.runs
        }

        def work() -> dict:
            if processes.run_visibly(shell.executable(command), self.threads) != 0:
                raise UserError("measuring the speed failed, see above")
            return {}

        inputs = {"command": told, "models": models}
        Stamps(self.folder.path).run(f"measure-beam{self.beam}", inputs, [self.out], work)
        line = shlex.join(told)
        found = json.loads(self.out.read_bytes())
        return {name: {"beam": self.beam, "command": line, **one} for name, one in found.items()}
