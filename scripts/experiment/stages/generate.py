"""Translate the test set with fairseq-generate and score it: a stage of the experiment.

For one model by hand, see the shell lines in ``scripts/README.md``; this module runs the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from fairseq_memtx.commands import comet_scores
from fairseq_memtx.commands.hypotheses import LineCounter, extract, read_lines
from fairseq_memtx.commands.score import score
from fairseq_memtx.ground import processes, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import sha256_of, write_bytes, write_json
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.stamps import Stamps
from scripts.experiment import commands
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run, RunFolder
from scripts.experiment.plan import Plan
from scripts.experiment.stages import prepare, stamps

logger = logging.getLogger(__name__)


def generate_all(plan: Plan) -> None:
    """Translate and score the test set with each run's averaged model and each beam."""
    prepare.check_text(plan.folder, plan.experiment)
    generations = [
        Generation(plan.experiment, plan.folder, run, beam)
        for run in plan.runs
        for beam in plan.experiment.decoding.beams
    ]
    with ExitStack() as stack:
        jobs = {
            generation.name: generation.job(plan.threads, stack)
            for generation in generations
            if not stamps.is_done(generation.folder, generation.stage, generation.inputs())
        }
        for job in processes.run_all(list(jobs.values()), plan.at_once):
            raise UserError(
                f"translating by {job.name} failed, `{job.log}` ends:\n{job.log_tail()}"
            )
    for generation in generations:
        done = jobs.get(generation.name)
        generation.finish(done.peak_memory if done else None)
        generation.score(plan.comet)


class Generation:
    """One run's translation of the test set with one beam."""

    def __init__(
        self, experiment: Experiment, folder: ExperimentFolder, run: Run, beam: int
    ) -> None:
        self.experiment = replace(experiment, decoding=experiment.decoding.at_beam(beam))
        self.experiment_folder, self.run, self.beam = folder, run, beam
        self.folder: RunFolder = folder.run(run)
        data = experiment.data
        self.source = folder.reference("test", data.source_lang)
        self.reference = folder.reference("test", data.target_lang)

    @property
    def name(self) -> str:
        """Run and beam."""
        return f"{self.run.name}, beam {self.beam}"

    @property
    def stage(self) -> str:
        """The name of its stamp."""
        return f"generate-beam{self.beam}"

    @property
    def hypotheses(self) -> Path:
        """The translations."""
        return self.folder.hypotheses(self.beam)

    @property
    def scores(self) -> Path:
        """What they are worth."""
        return self.folder.result(f"score-beam{self.beam}")

    @property
    def command(self) -> list[str]:
        """The command line of fairseq-generate."""
        return commands.generate_command(
            self.experiment,
            self.experiment_folder.data_bin,
            self.folder.averaged,
            prepare.tokenizer(self.experiment_folder),
        )

    def inputs(self) -> dict:
        """All that the translations depend on."""
        return {
            "command": commands.told(self.command, self.experiment_folder.path),
            "model": stamps.output_hash(self.folder, "average", self.folder.averaged),
            "data": prepare.data_hash(self.experiment_folder),
        }

    def job(self, threads: int, stack: ExitStack) -> processes.Job:
        """The process to start; its output replaces that of an earlier one."""
        log = self.folder.generate_log(self.beam)
        log.unlink(missing_ok=True)
        lines = len(read_lines(self.reference))
        progress = stack.enter_context(Progress(self.name, total=lines, unit="sentences"))
        follower = LineCounter(log, progress)
        return processes.Job(
            name=self.name,
            command=shell.executable(self.command),
            log=log,
            threads=threads,
            on_poll=follower.poll,
        )

    def finish(self, peak_memory: int | None) -> None:
        """Keep the translations in the test set's order, and the peak memory of the process."""

        def keep() -> dict:
            lines = len(read_lines(self.reference))
            text = self.folder.generate_log(self.beam).read_text(encoding="utf-8").split("\n")
            hypotheses = extract(text, lines)
            write_bytes(self.hypotheses, "".join(f"{h}\n" for h in hypotheses).encode())
            return {"lines": lines, "peak_memory_bytes": peak_memory}

        Stamps(self.folder.path).run(self.stage, self.inputs(), [self.hypotheses], keep)

    def score(self, comet: Path | None = None) -> None:
        """Score the translations against the untouched references.

        Args:
            comet: the COMET checkpoint to score with besides.
        """
        files = {"hypotheses": self.hypotheses, "reference": self.reference}
        files |= {} if comet is None else {"comet": comet}
        inputs = {name: sha256_of(path) for name, path in files.items()}

        def work() -> dict:
            references = read_lines(self.reference)
            hypotheses, sources = read_lines(self.hypotheses), read_lines(self.source)
            result = score(hypotheses, references)
            if comet is not None:
                result["comet"] = comet_scores.comet(comet, sources, hypotheses, references)
            result["copy_bleu"] = score(sources, references)["bleu"]["score"]
            write_json(self.scores, result)
            return {}

        Stamps(self.folder.path).run(f"score-beam{self.beam}", inputs, [self.scores], work)
        found = self.read_scores()
        numbers = f"BLEU {found['bleu']['score']:.2f}, chrF {found['chrf']['score']:.2f}"
        logger.info("%s: %s, copying the source %.2f", self.name, numbers, found["copy_bleu"])

    def read_scores(self) -> dict:
        """What `score` has found."""
        return json.loads(self.scores.read_bytes())


def check_learnt(experiment: Experiment, folder: ExperimentFolder, runs: Sequence[Run]) -> None:
    """Refuse to go on with a model that translates hardly better than by copying the source."""
    for run in runs:
        found = Generation(experiment, folder, run, experiment.decoding.beam).read_scores()
        bleu, copied = found["bleu"]["score"], found["copy_bleu"]
        if bleu < copied + experiment.min_gain:
            raise UserError(
                f"BLEU of `{run.name}` is {bleu}: it has to be at least {experiment.min_gain} above"
                f" copying the source ({copied}), so train it for longer"
            )
