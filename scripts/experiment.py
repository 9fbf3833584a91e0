"""Run a named experiment: ``python -m scripts.experiment multi30k --corpora DIR``.

Prepares the data, trains every decoder at every depth, averages checkpoints, translates the test
set, measures decoding speed, and reports. Each stage is skipped when it is done already, and goes
on where it was interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from data_prep.errors import UserError
from scripts import command_line, train
from scripts import prepare as preparation
from scripts.configs import ARCHITECTURES, EXPERIMENTS, Experiment
from scripts.folders import ExperimentFolder, Run

logger = logging.getLogger(__name__)

STAGES = ("prepare", "train", "average", "generate", "measure", "report")


@dataclasses.dataclass(frozen=True)
class Options:
    """How an experiment is run on this machine; what it is, is in its :class:`Experiment`."""

    corpora: Path | None = None
    runs_dir: Path = Path("runs")
    results_dir: Path = Path("results")
    stages: tuple[str, ...] = STAGES
    threads: int = 1
    jobs: int = 1


def run_experiment(experiment: Experiment, options: Options) -> None:
    """Run the chosen stages in their order."""
    folder = ExperimentFolder((options.runs_dir / experiment.name).resolve())
    runs = runs_of(experiment)
    if "prepare" in options.stages:
        preparation.prepare(experiment, folder, options.corpora)
    if "train" in options.stages:
        train.train_all(experiment, folder, runs, options.jobs, options.threads)


def runs_of(experiment: Experiment) -> list[Run]:
    """All runs of the experiment, the decoders of one depth side by side."""
    return [
        Run(decoder, depth, seed)
        for seed, depth, decoder in product(
            experiment.seeds, experiment.depths, experiment.decoders
        )
    ]


def resolve(args: argparse.Namespace) -> Experiment:
    """The named experiment with what the command line overrides."""
    experiment = EXPERIMENTS[args.name]
    given = {
        name: getattr(args, name)
        for name in ("decoders", "depths", "seeds", "average_last", "device")
        if getattr(args, name) is not None
    }
    limits = {
        name: getattr(args, name)
        for name in ("max_update", "max_epoch")
        if getattr(args, name) is not None
    }
    training = dataclasses.replace(experiment.training, **limits)
    training = dataclasses.replace(training, extra=(*training.extra, *args.train_args))
    for decoder in given.get("decoders", ()):
        if decoder not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise UserError(f"`--decoders` must be among {known}, but has `{decoder}`")
    return dataclasses.replace(experiment, training=training, **given)


def resolve_options(args: argparse.Namespace) -> Options:
    """How to run, from the command line."""
    for stage in args.stages:
        if stage not in STAGES:
            raise UserError(f"`--stages` must be among {', '.join(STAGES)}, but has `{stage}`")
    jobs = args.jobs or max(1, (os.cpu_count() or 1) // args.threads)
    return Options(args.corpora, args.runs_dir, args.results_dir, args.stages, args.threads, jobs)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.experiment``."""
    about = "\n".join(f"  {name:<12}{exp.summary}" for name, exp in EXPERIMENTS.items())
    parser = argparse.ArgumentParser(
        prog="scripts.experiment",
        description=f"{__doc__}\nexperiments:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(parser)
    return parser.parse_args(argv)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of an experiment to a parser."""
    whole, several = command_line.positive_int, command_line.int_list
    add = parser.add_argument
    add("name", choices=EXPERIMENTS, help="which experiment")
    add("--decoders", type=command_line.comma_list, help="some of: " + ", ".join(ARCHITECTURES))
    add("--depths", type=several, help="decoder layers, such as 1,2,6")
    add("--seeds", type=several, help="seeds of the training, such as 1,2,3")
    add("--corpora", type=Path, help="folder of text (default: $MEMTX_CORPORA)")
    add("--runs-dir", type=Path, default=Path("runs"), help="where trainings are kept")
    add("--results-dir", type=Path, default=Path("results"), help="where records are kept")
    add(
        "--stages",
        type=command_line.comma_list,
        default=STAGES,
        help="some of: " + ",".join(STAGES),
    )
    add("--threads", type=whole, default=1, help="threads of each training, and of decoding")
    add("--jobs", type=whole, help="trainings side by side (default: cores / threads)")
    add("--device", choices=("cpu", "gpu"), help="gpu: use one where there is one")
    add("--max-update", type=whole, help="updates of each training")
    add("--max-epoch", type=whole, help="epochs of each training")
    add("--average-last", type=whole, help="checkpoints to average")
    add("--train-args", nargs=argparse.REMAINDER, default=[], help="last: flags for fairseq-train")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.experiment``."""
    args = parse_args(argv)
    return command_line.run(lambda: run_experiment(resolve(args), resolve_options(args)))


if __name__ == "__main__":
    raise SystemExit(main())
