"""The Feedback paper's task of state tracking: ``python -m scripts.studies.state_tracking``.

Trains decoders of several depths to tell what programs print (`data_prep.programs`), with the
length curriculum and without, counts what is right by how long ago the variable changed, writes a
record of each run, a table and plots. What is done is not done again, and a training that was
interrupted goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.cli import main as prepare_data
from fairseq_memtx.ground import command_line, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of, write_json
from fairseq_memtx.ground.stamps import Stamps, describe
from fairseq_memtx.ground.versions import versions
from fairseq_memtx.training_log import LogReader
from scripts.experiment import commands
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.stages.train import RunTraining, train_each
from scripts.shared import provenance, publishing
from scripts.shared.report import report
from scripts.studies import flags
from scripts.studies.programs import configs
from scripts.studies.programs.scoring import score

logger = logging.getLogger(__name__)

SCHEMA = 1
STAGES = ("train", "score", "report")
SCORED_ROWS = 50


class ProgramTraining(RunTraining):
    """One model's training and its score."""

    @property
    def system(self) -> configs.System:
        """What is trained."""
        return configs.SYSTEMS[self.run.decoder]

    @property
    def stages(self) -> tuple[configs.Stage, ...]:
        """Its parts."""
        return configs.stages_of(self.run.recipe)

    @property
    def data(self) -> list[Path]:
        """The folder of each epoch: of each stage in turn, and of the last until the end."""
        *short, whole = (stage_folder(self.experiment_folder, one) for one in self.stages)
        passes = configs.most_epochs(self.experiment.training.max_update)
        return [*short, *[whole] * (passes if short else 1)]

    @property
    def command(self) -> list[str]:
        """The command line of fairseq-train."""
        data = [folder / "bin" for folder in self.data]
        save_dir = self.folder.checkpoints
        run = self.run
        return configs.train_command(
            self.system, self.experiment, run.depth, data, save_dir, run.seed
        )

    def told_command(self) -> list[str]:
        place = self.experiment_folder.path
        return [":".join(commands.told(word.split(":"), place)) for word in self.command]

    def inputs(self) -> dict:
        """All that the trained weights depend on."""
        found = {str(folder.name): prepared(folder)["outputs"] for folder in self.data}
        return {"command": self.told_command(), "data": hash_of(found)}

    def settings(self) -> dict:
        """The run's resolved settings, as saved beside its checkpoints."""
        return {
            "run": dataclasses.asdict(self.run),
            "threads": self.threads,
            "inputs": self.inputs(),
            "train_command": shlex.join(self.told_command()),
        }

    @property
    def checkpoint(self) -> Path:
        """The model after its last update."""
        return self.folder.checkpoints / "checkpoint_last.pt"

    def score(self) -> None:
        """Count what is right in the test set, unless that is done."""
        if not self.folder.result("train").exists():
            raise UserError(f"`{self.name}` is not trained: run the stage `train` first")
        data, result = self.data[-1], self.folder.result("score")
        inputs = {
            "checkpoint": describe(self.checkpoint)["sha256"],
            "data": hash_of(prepared(data)["outputs"]),
            "rows": SCORED_ROWS,
        }

        def work() -> dict:
            counts = score(self.checkpoint, data, "test", SCORED_ROWS)
            write_json(result, counts)
            right, count = map(sum, zip(*counts.values(), strict=True))
            logger.info("%s: %.1f %% of %d values", self.name, 100 * right / count, count)
            return {"right": right, "values": count}

        Stamps(self.folder.path).run("score", inputs, [result], work)


def stage_folder(folder: ExperimentFolder, stage: configs.Stage) -> Path:
    """Where the programs of a stage lie."""
    return folder.path / f"programs-{stage.statements}"


def prepared(folder: Path) -> dict:
    """What `memtx prepare programs` says of a folder."""
    return json.loads((folder / "prepared.json").read_bytes())


def prepare(folder: ExperimentFolder, recipes: Sequence[str], variables: int) -> None:
    """Write the programs of all stages, unless that is done."""
    for stage in dict.fromkeys(one for name in recipes for one in configs.stages_of(name)):
        command = configs.prepare_command(stage_folder(folder, stage), stage, variables)
        if prepare_data(command[2:]) != 0:
            raise UserError(f"writing programs failed: `{shell.shell_line(command)}`")


def record(training: ProgramTraining, variables: int, command: str) -> dict:
    """The record of one run."""
    folder = training.folder
    settings = json.loads(folder.settings.read_bytes())
    trained = json.loads(folder.result("train").read_bytes())
    commit, dirty = provenance.git_state()
    kept = ("updates", "target_tokens", "train_nll_loss", "valid_nll_loss", "processor_seconds")
    sizes = training.experiment.model
    return {
        "schema": SCHEMA,
        "experiment": training.experiment.name,
        "decoder": training.run.decoder,
        "sees": training.system.meaning,
        "depth": training.run.depth,
        "recipe": training.run.recipe,
        "stages": [dataclasses.asdict(stage) for stage in training.stages],
        "seed": training.run.seed,
        "variables": variables,
        "commit": commit,
        "dirty": dirty,
        "commands": {"state_tracking": command, "train": settings["train_command"]},
        "versions": versions(),
        "hardware": provenance.hardware("cpu"),
        "threads": settings["threads"],
        "math": training.experiment.training.cpu_math,
        "data": {"sha256": settings["inputs"]["data"], "test": configs.HELD_OUT[1]},
        "parameters": trained["parameters"],
        "sizes": {"embed_dim": sizes.embed_dim, "ffn_dim": sizes.ffn_dim, "heads": sizes.heads},
        "block": configs.BLOCK,
        "rows": configs.ROWS,
        "training": {name: trained[name] for name in kept} | {"accuracy": accuracies(folder)},
        "distances": json.loads(folder.result("score").read_bytes()),
    }


def accuracies(folder) -> list[tuple[int, float]]:
    """Updates and accuracy in per cent of the validations of a training."""
    events = [event for event in LogReader(folder.train_log).poll() if event.kind == "valid"]
    found = {event.updates: event.values["accuracy"] for event in events}
    return sorted(found.items())


def trainings(args: argparse.Namespace) -> list[ProgramTraining]:
    """The runs that the command line asks for, seed by seed."""
    command_line.check_names("--stages", args.stages, STAGES)
    command_line.check_names("--decoders", args.decoders, tuple(configs.SYSTEMS))
    command_line.check_names("--recipes", args.recipes, configs.RECIPES)
    experiment = resolve(args)
    folder = ExperimentFolder((args.runs_dir / experiment.name).resolve())
    return [
        ProgramTraining(experiment, folder, Run(decoder, depth, seed, recipe), args.threads)
        for seed in args.seeds
        for recipe in args.recipes
        for depth in args.depths
        for decoder in args.decoders
    ]


def resolve(args: argparse.Namespace) -> Experiment:
    """The experiment with the command line's changes."""
    changed = {"max_update": args.max_update} if args.max_update else {}
    experiment = configs.experiment_of(args.variables)
    training = dataclasses.replace(experiment.training, extra=tuple(args.train_args), **changed)
    return dataclasses.replace(experiment, training=training)


def compare(args: argparse.Namespace) -> None:
    """Prepare, train, score, record and report."""
    runs = trainings(args)
    place = args.results_dir / runs[0].experiment.name
    if "report" in args.stages:
        publishing.check_checkout(place)
    prepare(runs[0].experiment_folder, args.recipes, args.variables)
    if "train" in args.stages:
        train_each(runs, args.jobs)
    if "score" in args.stages:
        for training in runs:
            training.score()
    if "report" in args.stages:
        for training in runs:
            found = record(training, args.variables, args.command)
            write_json(place / "records" / f"{training.name}.json", found)
        page, *_ = report(place)
        sys.stdout.write(page.read_text(encoding="utf-8"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.state_tracking``."""
    whole, names = command_line.positive_int, command_line.comma_list
    numbers = command_line.int_list
    parser = flags.parser("scripts.studies.state_tracking", __doc__)
    add, usual = parser.add_argument, configs.experiment_of(3)
    systems = tuple(configs.SYSTEMS)
    add("--decoders", type=names, default=systems, help="some of: " + ",".join(systems))
    add("--depths", type=numbers, default=usual.depths, help="layers, such as 1,2,4")
    recipes = configs.RECIPES
    add("--recipes", type=names, default=recipes, help="some of: " + ",".join(recipes))
    add("--variables", type=whole, default=3, help="of each program")
    add("--seeds", type=numbers, default=(1,))
    add("--stages", type=names, default=STAGES, help="some of: " + ",".join(STAGES))
    add("--max-update", type=whole, help=f"default: {usual.training.max_update}")
    return flags.parse(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.state_tracking``."""
    args = parse_args(argv)
    return command_line.run(lambda: compare(args))


if __name__ == "__main__":
    raise SystemExit(main())
