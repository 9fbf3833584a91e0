"""Train the runs of an experiment by fairseq-train, each in a process and a folder of its own.

``python -m scripts.experiment multi30k --stages train`` is this stage alone. A training that
was interrupted goes on from its last checkpoint when started again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import processes, shell, writing
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from fairseq_memtx.ground.stamps import Stamps
from fairseq_memtx.training_log import summarise
from scripts.experiment import commands
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run, RunFolder
from scripts.experiment.plan import Plan
from scripts.experiment.recipes import RECIPES
from scripts.experiment.stages import prepare, stamps
from scripts.experiment.stages.average import average_run
from scripts.experiment.stages.clock import TrainingClock, read_ticks
from scripts.experiment.stages.learning import tuned
from scripts.shared import provenance
from scripts.shared.training_progress import TrainingProgress

logger = logging.getLogger(__name__)

#: Flags with other values of which a training may be continued: how long it lasts, and by which
#: library a CPU multiplies.
CHANGEABLE = ("--max-epoch", "--max-update", "--patience", "--memtx-cpu-math")


def train_all(plan: Plan) -> None:
    """Train the runs that are not trained yet, `plan.at_once` side by side.

    What a recipe begins from is trained before, also where it is not among the runs.
    """
    experiment, folder = plan.experiment, plan.folder
    first, after = in_order(experiment, plan.runs)
    for wave in (first, after):
        trainings = [
            RunTraining(tuned(experiment, folder, run), folder, run, plan.threads)
            for run in longest_first(wave)
        ]
        if wave is after and any(RECIPES[run.recipe].is_distilled for run in wave):
            distil(plan)
        train_each(trainings, plan.at_once)


def in_order(experiment: Experiment, runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs that need no other, with all that is needed; and those that need one of these."""
    needed = {run: needs(experiment, run) for run in runs}
    first = [run for run in runs if needed[run] is None]
    first += [need for need in needed.values() if need is not None]
    return list(dict.fromkeys(first)), [run for run in runs if needed[run] is not None]


def needs(experiment: Experiment, run: Run) -> Run | None:
    """The run whose end this one begins from: a Transformer's weights, or its translations."""
    recipe = RECIPES[run.recipe]
    if recipe.is_distilled:
        return teacher(experiment)
    if recipe.begins_from:
        return replace(run, decoder="transformer", recipe=recipe.begins_from)
    return None


def teacher(experiment: Experiment) -> Run:
    """The Transformer that the recipe `distilled` learns from."""
    return Run("transformer", experiment.teacher_depth, experiment.seeds[0])


def distil(plan: Plan) -> None:
    """Let the teacher, which is trained, translate the training set."""
    experiment, folder = plan.experiment, plan.folder
    run_folder = folder.run(teacher(experiment))
    average_run(run_folder, experiment.average_last)
    command = commands.distil_command(
        experiment, folder.data, run_folder.averaged, folder.distilled, plan.at_once, plan.threads
    )
    logger.info("distil: %s", shell.shell_line(commands.told(command, folder.path)))
    if processes.run_visibly(shell.executable(command), plan.threads) != 0:
        raise UserError("distilling failed, see above")


def train_each(trainings: Sequence[RunTraining], at_once: int) -> None:
    """Do the trainings that are not done yet, in this order, ``at_once`` side by side."""
    with ExitStack() as stack:
        jobs = {}
        for training in trainings:
            lock = stack.enter_context(locked(training.folder.path))
            if stamps.is_done(training.folder, "train", training.inputs()):
                logger.info("%s: already trained", training.name)
                continue
            jobs[training.name] = training.job(lock, stack)
        failed = {job.name: job for job in processes.run_all(list(jobs.values()), at_once)}
        for training in trainings:
            if training.name in failed:
                training.check_failure(failed[training.name])
            if training.name in jobs:
                training.peak_memory = jobs[training.name].peak_memory
        for training in trainings:
            training.finish()


def longest_first(runs: Sequence[Run]) -> list[Run]:
    """Deep before shallow and recurrent before others, so that no core waits for one long run."""
    return sorted(runs, key=lambda run: (-run.depth, not DECODERS[run.decoder].is_recurrent))


@dataclasses.dataclass
class RunTraining:
    """One run's training: its command, its settings, and whether it is done."""

    experiment: Experiment
    experiment_folder: ExperimentFolder
    run: Run
    threads: int
    peak_memory: int | None = None  # bytes, of the last start, once it has ended

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return self.experiment_folder.run(self.run)

    @property
    def name(self) -> str:
        """The name of that folder."""
        return self.folder.path.name

    @property
    def notes(self) -> Path:
        """Where the processor time is noted."""
        return self.folder.path / "clock.jsonl"

    @property
    def command(self) -> list[str]:
        """The command line of fairseq-train."""
        return commands.train_command(
            self.experiment,
            self.experiment_folder.data_of(self.run) / "bin",
            self.folder.checkpoints,
            self.run,
            self._init_from(),
        )

    def _init_from(self) -> Path | None:
        if not RECIPES[self.run.recipe].begins_from:
            return None
        need = needs(self.experiment, self.run)
        assert need is not None
        return self.experiment_folder.run(need).checkpoints / "checkpoint_last.pt"

    def told_command(self) -> list[str]:
        """The same wherever the experiment's folder lies."""
        return commands.told(self.command, self.experiment_folder.path)

    def inputs(self) -> dict:
        """All that the trained weights depend on."""
        # Our task trains the weights of fairseq's, which earlier runs were begun with.
        line = ["translation" if word == shell.TASK else word for word in self.told_command()]
        return {"command": line, "data": prepare.data_hash(self.experiment_folder, self.run)}

    def job(self, lock: BinaryIO, stack: ExitStack) -> processes.Job:
        """The process to start, after a look at what an earlier start left."""
        self._check_settings()
        self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        write_json(self.folder.settings, self.settings())
        note_start(self.folder)
        resumed = (self.folder.checkpoints / "checkpoint_last.pt").exists()
        logger.info("%s: %s", self.name, "resumes" if resumed else "starts")
        logger.info("%s: %s", self.name, shell.shell_line(self.command))
        job = processes.Job(
            name=self.name,
            command=shell.executable(self.command),
            log=self.folder.train_log,
            threads=self.threads,
            locked=lock,
        )
        limits = self.experiment.training.max_epoch, self.experiment.training.max_update
        progress = TrainingProgress(self.name, self.folder.train_log, *limits, stack)
        clock = TrainingClock(job, self.notes)

        def poll() -> None:
            clock.poll()
            progress.poll()

        job.on_poll = poll
        return job

    def settings(self) -> dict:
        """The run's resolved settings, as saved beside its checkpoints."""
        return {
            "experiment": dataclasses.asdict(self.experiment),
            "run": dataclasses.asdict(self.run),
            "threads": self.threads,
            "inputs": self.inputs(),
            "train_command": shlex.join(self.told_command()),
        }

    def check_failure(self, job: processes.Job) -> None:
        """What becomes of a training that ended with an error."""
        raise UserError(f"training of {job.name} failed, `{job.log}` ends:\n{job.log_tail()}")

    def _check_settings(self) -> None:
        """Refuse to go on with another model, data or optimizer than the folder's own."""
        if not checkpoints_exist(self.folder) or not self.folder.settings.exists():
            return
        before = json.loads(self.folder.settings.read_bytes())["inputs"]
        if without_changeable(before) != without_changeable(self.inputs()):
            raise UserError(
                f"`{self.folder.path}` holds a training with other settings or data:"
                " remove it, or choose another --runs-dir"
            )

    def finish(self) -> None:
        """Stamp the training as done, with what its log says of it."""
        outputs = [self.folder.result("train")]
        Stamps(self.folder.path).run("train", self.inputs(), outputs, self._summarise)

    def _summarise(self) -> dict:
        summary = summarise(self.folder.train_log)
        ticks = read_ticks(self.notes)
        summary["processor_seconds"] = ticks[-1].seconds if ticks else None
        summary["peak_memory_bytes"] = self.peak_memory
        write_json(self.folder.result("train"), summary)
        return {key: value for key, value in summary.items() if key != "curves"}


def checkpoints_exist(folder: RunFolder) -> bool:
    """Whether a training has begun here."""
    return folder.checkpoints.is_dir() and any(folder.checkpoints.glob("checkpoint*.pt"))


def note_start(folder: RunFolder) -> None:
    """Note the commit of a start: a training may be begun with one and end with another."""
    commit, dirty = provenance.git_state()
    with writing.open_growing(folder.starts) as starts:
        starts.write(json.dumps({"commit": commit, "dirty": dirty}).encode() + b"\n")


def without_changeable(inputs: dict) -> dict:
    """The inputs of a training without what may be another when it is continued."""
    words = inputs["command"]
    for flag in CHANGEABLE:
        words = commands.without(words, flag)
    return {**inputs, "command": words}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[BinaryIO]:
    """Hold the folder for this process, or refuse when another holds it."""
    busy = f"another training uses `{folder}`: wait for it"
    with writing.locked(folder / "lock", busy) as lock:
        yield lock
