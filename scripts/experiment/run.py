"""Run a named experiment: ``python -m scripts.experiment multi30k --corpora DIR``.

Prepares the data, looks for the learning rate of each size, trains every decoder at every depth by
every recipe, averages checkpoints, translates the test
set, measures decoding speed, and reports. Each stage is skipped when it is done already, and goes
on where it was interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

from fairseq_memtx.commands import comet_scores
from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import command_line, shell
from fairseq_memtx.ground.errors import UserError
from scripts.experiment.configs import EXPERIMENTS, Experiment, Narrow
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.plan import Plan
from scripts.experiment.recipes import RECIPES
from scripts.experiment.stages import prepare as preparation
from scripts.experiment.stages.average import average_run
from scripts.experiment.stages.cost import cost_all
from scripts.experiment.stages.generate import generate_all
from scripts.experiment.stages.measuring import measure_all
from scripts.experiment.stages.search import search_all
from scripts.experiment.stages.showcase import show
from scripts.experiment.stages.train import train_all
from scripts.shared.report import report

logger = logging.getLogger(__name__)

#: Run only when named.
OPTIONAL = ("cost",)
STAGES = ("prepare", "search", "train", "average", "generate", "measure", "report")


@dataclasses.dataclass(frozen=True)
class Options:
    """How an experiment is run on this machine; what it is, is in its :class:`Experiment`."""

    corpora: Path | None = None
    runs_dir: Path = Path("runs")
    results_dir: Path | None = None  # None: results/, or the runs folder of what is not published
    stages: tuple[str, ...] = STAGES
    threads: int = 1
    jobs: int = 1
    finished: bool = False  # leave out the runs that have no averaged model yet
    command: str = ""
    comet: Path | None = None


def run_experiment(experiment: Experiment, options: Options) -> None:
    """Run the chosen stages in their order."""
    folder = ExperimentFolder((options.runs_dir / experiment.name).resolve())
    runs = runs_of(experiment)
    plan = Plan(
        experiment=experiment,
        folder=folder,
        runs=finished(folder, runs) if options.finished else runs,
        at_once=options.jobs,
        threads=options.threads,
        place=results_folder(experiment, folder, options.results_dir),
        command=options.command,
        comet=options.comet,
    )
    steps: dict[str, Callable[[Plan], None]] = {
        "prepare": lambda _: preparation.prepare(experiment, folder, options.corpora),
        "search": search_all,
        "train": train_all,
        "average": average_all,
        "generate": generate_all,
        "measure": measure_all,
        "report": report_all,
        "cost": cost_all,
    }
    for number, name in enumerate(steps, start=1):
        if name in options.stages:
            logger.info("--- %d/%d %s: %s", number, len(steps), experiment.name, name)
            steps[name](plan)


def finished(folder: ExperimentFolder, runs: Sequence[Run]) -> list[Run]:
    """Those of the runs that have an averaged model; the others are named in the log.

    Raises:
        UserError: where no run has one.
    """
    found = [run for run in runs if folder.run(run).averaged.is_file()]
    if not found:
        raise UserError(f"`{folder.path}` holds no finished run: train one")
    for run in runs:
        if run not in found:
            logger.info("%s is left out: it is not finished", run.name)
    return found


def results_folder(experiment: Experiment, folder: ExperimentFolder, chosen: Path | None) -> Path:
    """Where records and tables go: ``results/NAME``, or beside the runs of what is a trial only."""
    if chosen is None and not experiment.published:
        return folder.path / "results"
    return (chosen or Path("results")) / experiment.name


def average_all(plan: Plan) -> None:
    """Average the last checkpoints of every run."""
    for run in plan.runs:
        average_run(plan.folder.run(run), plan.experiment.average_last)


def report_all(plan: Plan) -> None:
    """Write the table and the plots, and show the table and a few translations."""
    written = report(plan.place)
    print(f"\n{written[0].read_text(encoding='utf-8')}")
    experiment, folder = plan.experiment, plan.folder
    sources, references = (
        read_lines(folder.reference("test", language))
        for language in (experiment.data.source_lang, experiment.data.target_lang)
    )
    beam = experiment.decoding.beam
    systems = {run.name: read_lines(folder.run(run).hypotheses(beam)) for run in plan.runs}
    print(f"Translations of the test set:\n\n{show(sources, references, systems)}\n")
    for path in written:
        print(path)


def runs_of(experiment: Experiment) -> list[Run]:
    """All runs of the experiment, the decoders of one depth side by side, the narrow ones last."""
    runs = list(grid(experiment, experiment.depths, 0))
    if experiment.narrow is not None:
        runs += grid(experiment, experiment.narrow.depths, experiment.narrow.width)
    return runs


def grid(experiment: Experiment, depths: Sequence[int], width: int) -> Iterator[Run]:
    """Runs of these depths at one width, but a Transformer that would begin from itself."""
    axes = product(experiment.seeds, experiment.recipes, depths, experiment.decoders)
    for seed, recipe, depth, decoder in axes:
        if not (decoder == "transformer" and RECIPES[recipe].begins_from):
            yield Run(decoder, depth, seed, recipe, width)


def resolve(args: argparse.Namespace) -> Experiment:
    """The named experiment with what the command line overrides."""
    experiment = EXPERIMENTS[args.name]
    given = {
        name: getattr(args, name)
        for name in ("decoders", "depths", "recipes", "seeds", "average_last", "device")
        if getattr(args, name) is not None
    }
    limits = {
        name: getattr(args, name)
        for name in ("max_update", "max_epoch", "patience")
        if getattr(args, name) is not None
    }
    training = dataclasses.replace(experiment.training, **limits)
    training = dataclasses.replace(training, extra=(*training.extra, *args.train_args))
    for axis, known in (("decoders", DECODERS), ("recipes", RECIPES)):
        command_line.check_names(f"--{axis}", given.get(axis, ()), known)
    experiment = dataclasses.replace(experiment, training=training, **given)
    return at_widths(experiment, args.width, args.depths)


def at_widths(
    experiment: Experiment, width: int | None, depths: tuple[int, ...] | None
) -> Experiment:
    """Without the narrow models where depths are named, or with those of a width alone."""
    if width is None:
        return experiment if depths is None else dataclasses.replace(experiment, narrow=None)
    if width == experiment.model.embed_dim:
        return dataclasses.replace(experiment, narrow=None)
    narrow = Narrow(width, experiment.depths)
    return dataclasses.replace(experiment, depths=(), narrow=narrow)


def resolve_options(args: argparse.Namespace, device: str = "cpu") -> Options:
    """How to run, from the command line; a GPU is given to one training at a time."""
    command_line.check_names("--stages", args.stages, (*STAGES, *OPTIONAL))
    if args.comet is not None:
        comet_scores.check(args.comet)
    cores = (os.cpu_count() or 1) if device == "cpu" else 1
    jobs = args.jobs or max(1, cores // args.threads)
    return Options(
        corpora=args.corpora,
        runs_dir=args.runs_dir,
        results_dir=args.results_dir,
        stages=args.stages,
        threads=args.threads,
        jobs=jobs,
        finished=args.finished,
        comet=args.comet,
        command=shell.shell_line(["python", "-m", "scripts.experiment", *sys.argv[1:]]),
    )


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
    add("--decoders", type=command_line.comma_list, help="some of: " + ", ".join(DECODERS))
    add("--recipes", type=command_line.comma_list, help="some of: " + ", ".join(RECIPES))
    add("--width", type=whole, help="another embedding dimension, for narrow models beside")
    add("--depths", type=several, help="decoder layers, such as 1,2,6")
    add("--seeds", type=several, help="seeds of the training, such as 1,2,3")
    add("--corpora", type=Path, help="folder of text (default: $MEMTX_CORPORA)")
    add("--runs-dir", type=Path, default=Path("runs"), help="where trainings are kept")
    add("--results-dir", type=Path, help="where records are kept (default: results; demo: its run)")
    add(
        "--stages",
        type=command_line.comma_list,
        default=STAGES,
        help=f"some of: {','.join(STAGES)} (default: these), cost (hours, from a few updates)",
    )
    add("--finished", action="store_true", help="leave out runs without an averaged model")
    add("--threads", type=whole, default=1, help="threads of each training, and of decoding")
    add("--jobs", type=whole, help="trainings side by side (default: cores / threads)")
    add("--device", choices=("cpu", "gpu"), help="gpu: use one where there is one")
    add("--max-update", type=whole, help="updates of each training")
    add("--max-epoch", type=whole, help="epochs of each training")
    add("--patience", type=whole, help="validations without a better loss that end a training")
    add("--average-last", type=whole, help="checkpoints to average")
    add("--comet", type=Path, help="score with this COMET checkpoint too (unbabel-comet)")
    add("--train-args", nargs=argparse.REMAINDER, default=[], help="last: flags for fairseq-train")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.experiment``."""
    args = parse_args(argv)

    def work() -> None:
        experiment = resolve(args)
        run_experiment(experiment, resolve_options(args, experiment.device))

    return command_line.run(work)
