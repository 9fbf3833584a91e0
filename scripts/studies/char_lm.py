"""Language models of characters: ``python -m scripts.studies.char_lm --corpora FOLDER``.

Trains a Transformer and the memory decoders on Tiny Shakespeare with equally many parameters and
updates, scores the test set in bits for each character, writes a record of each run and a table;
with ``--experiment memories`` the Feedback decoder with several kinds of memory, in a short run.
What is done is not done again, and a training that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line, processes, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of, write_json
from fairseq_memtx.ground.stamps import Stamps, describe
from fairseq_memtx.ground.versions import versions
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.stages.train import RunTraining, train_each
from scripts.shared import provenance
from scripts.shared.report import report
from scripts.studies import flags
from scripts.studies.characters import text
from scripts.studies.characters.configs import (
    BLOCK,
    DEPTH,
    EXPERIMENTS,
    MODELS,
    ROWS,
    TEXT,
    CharModel,
    Evaluation,
    evaluate_command,
    train_command,
)

logger = logging.getLogger(__name__)

SCHEMA = 1
STAGES = ("train", "evaluate", "report")
_LOSS = re.compile(r"Loss \(base 2\): ([0-9.]+)")


class CharTraining(RunTraining):
    """One model's training and its evaluations."""

    @property
    def model(self) -> CharModel:
        """What is trained."""
        return MODELS[self.run.decoder]

    @property
    def command(self) -> list[str]:
        """The command line of fairseq-train."""
        data, save_dir = self.experiment_folder.data_bin, self.folder.checkpoints
        return train_command(self.model, self.experiment, data, save_dir, self.run.seed)

    @property
    def checkpoint(self) -> Path:
        """The model after its last update."""
        return self.folder.checkpoints / "checkpoint_last.pt"

    def settings(self) -> dict:
        """The run's resolved settings, as saved beside its checkpoints."""
        return {
            "model": dataclasses.asdict(self.model),
            "run": dataclasses.asdict(self.run),
            "threads": self.threads,
            "inputs": self.inputs(),
            "train_command": shlex.join(self.told_command()),
        }

    def evaluations(self) -> dict[str, list[str]]:
        """The command of each evaluation."""
        data = self.experiment_folder.data_bin
        return {
            one.name: evaluate_command(one, data, self.checkpoint) for one in self.model.evaluations
        }

    def evaluate(self) -> None:
        """Score the test set in all ways, unless that is done."""
        if not self.checkpoint.exists():
            raise UserError(f"`{self.name}` is not trained: run the stage `train` first")
        lines = {
            name: [shell.relative(word) for word in command]
            for name, command in self.evaluations().items()
        }
        inputs = {"checkpoint": describe(self.checkpoint)["sha256"], "commands": lines}
        result = self.folder.result("evaluate")
        Stamps(self.folder.path).run("evaluate", inputs, [result], self._evaluate_all)

    def _evaluate_all(self) -> dict:
        found = {
            one.name: {"context": one.context, "bits": self._evaluate(one)}
            for one in self.model.evaluations
        }
        write_json(self.folder.result("evaluate"), found)
        return found

    def _evaluate(self, evaluation: Evaluation) -> float:
        """Bits for each character of the test set."""
        log = self.folder.path / f"evaluate-{evaluation.name.replace(' ', '-')}.log"
        log.unlink(missing_ok=True)
        command = shell.executable(self.evaluations()[evaluation.name])
        job = processes.Job(f"{self.name}, {evaluation.name}", command, log, self.threads)
        if processes.run_all([job], 1):
            raise UserError(f"evaluating {job.name} failed, `{log}` ends:\n{job.log_tail()}")
        bits = read_bits(log)
        logger.info("%s: %.4f bits a character", job.name, bits)
        return bits


def read_bits(log: Path) -> float:
    """The loss that ``fairseq-eval-lm`` printed last, in bits for each token."""
    found = _LOSS.findall(log.read_text(encoding="utf-8"))
    if not found:
        raise UserError(f"`{log}` tells no loss of an evaluation")
    return float(found[-1])


def record(training: CharTraining, command: str) -> dict:
    """The record of one run."""
    folder = training.folder
    settings = json.loads(folder.settings.read_bytes())
    trained = json.loads(folder.result("train").read_bytes())
    counts = text.read_counts(training.experiment_folder)
    commit, dirty = provenance.git_state()
    kept = ("updates", "epochs", "target_tokens", "train_nll_loss", "valid_nll_loss", "curves")
    evaluations = {name: shell.shell_line(words) for name, words in training.evaluations().items()}
    return {
        "schema": SCHEMA,
        "experiment": training.experiment.name,
        "model": training.run.decoder,
        "depth": training.run.depth,
        "seed": training.run.seed,
        "commit": commit,
        "dirty": dirty,
        "commands": {
            "char_lm": command,
            "train": settings["train_command"],
            "evaluate": evaluations,
        },
        "versions": versions(),
        "hardware": provenance.hardware("cpu"),
        "threads": settings["threads"],
        "data": {
            "text": counts["text"],
            "characters": counts["characters"],
            "types": counts["types"],
            "sha256": hash_of(counts["outputs"]),
        },
        "parameters": trained["parameters"],
        "block": BLOCK,
        "rows": ROWS,
        "reach": training.model.reach,
        "training": {name: trained[name] for name in kept},
        "evaluations": json.loads(folder.result("evaluate").read_bytes()),
    }


def trainings(args: argparse.Namespace) -> list[CharTraining]:
    """The runs that the command line asks for, seed by seed."""
    command_line.check_names("--stages", args.stages, STAGES)
    experiment = resolve(args)
    models = args.models or experiment.decoders
    command_line.check_names("--models", models, experiment.decoders)
    folder = ExperimentFolder((args.runs_dir / experiment.name).resolve())
    return [
        CharTraining(experiment, folder, Run(name, DEPTH, seed), args.threads)
        for seed in args.seeds
        for name in models
    ]


def resolve(args: argparse.Namespace) -> Experiment:
    """The experiment with the command line's changes."""
    changed = {"max_update": args.max_update} if args.max_update else {}
    experiment = EXPERIMENTS[args.experiment]
    training = dataclasses.replace(experiment.training, extra=tuple(args.train_args), **changed)
    return dataclasses.replace(experiment, training=training)


def compare(args: argparse.Namespace) -> None:
    """Prepare, train, evaluate, record and report."""
    runs = trainings(args)
    text.prepare(text.find_text(args.corpora, TEXT), runs[0].experiment_folder)
    if "train" in args.stages:
        train_each(runs, args.jobs)
    if "evaluate" in args.stages:
        for training in runs:
            training.evaluate()
    if "report" in args.stages:
        place = args.results_dir / runs[0].experiment.name
        for training in runs:
            path = place / "records" / f"{training.name}.json"
            write_json(path, record(training, args.command))
        [page] = report(place)
        sys.stdout.write(page.read_text(encoding="utf-8"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.char_lm``."""
    whole, names = command_line.positive_int, command_line.comma_list
    parser = flags.parser("scripts.studies.char_lm", __doc__)
    add = parser.add_argument
    add("--experiment", choices=tuple(EXPERIMENTS), default="decoders", help="what is compared")
    add("--models", type=names, help="some of the experiment's: " + ",".join(MODELS))
    add("--seeds", type=command_line.int_list, default=(1,))
    add("--stages", type=names, default=STAGES, help="some of: " + ",".join(STAGES))
    usual = ", ".join(f"{x.training.max_update} ({name})" for name, x in EXPERIMENTS.items())
    add("--max-update", type=whole, help=f"default: {usual}")
    return flags.parse(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.char_lm``."""
    args = parse_args(argv)
    return command_line.run(lambda: compare(args))


if __name__ == "__main__":
    raise SystemExit(main())
