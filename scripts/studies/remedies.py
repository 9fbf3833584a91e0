"""What the remedies for slow training save: ``python -m scripts.studies.remedies sample``.

Trains the Feedback decoder from scratch, with a length curriculum, from the weights of a
Transformer (warm start), and with both; several seeds each. Writes a record of each run, a table
and a plot of the validation loss against wall time. What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of, write_json
from fairseq_memtx.ground.versions import versions
from scripts.experiment.configs import EXPERIMENTS, Experiment
from scripts.experiment.folders import ExperimentFolder, Run, RunFolder
from scripts.experiment.stages import prepare
from scripts.experiment.stages.clock import pace, read_ticks, seconds_at
from scripts.experiment.stages.train import RunTraining, train_each
from scripts.shared import provenance
from scripts.shared.report import report
from scripts.studies import flags
from scripts.studies.cures import table as remedy_table

logger = logging.getLogger(__name__)

#: The experiment whose data, sizes and training are taken over.
BASES = {"sample": "demo", "multi30k": "multi30k-256"}
CURRICULUM = ("--memtx-length-schedule", "competence")


@dataclass(frozen=True)
class Route:
    """One way to train. ``warm``: from the weights that the route ``parallel`` ended with."""

    name: str
    decoder: str = "feedback"
    flags: tuple[str, ...] = ()
    warm: bool = False


ROUTES = {
    route.name: route
    for route in (
        Route("parallel", decoder="transformer"),
        Route("scratch"),
        Route("reference", flags=("--memtx-engine", "reference")),
        Route("curriculum", flags=CURRICULUM),
        Route("filter", flags=(*CURRICULUM, "--memtx-length-mode", "filter")),
        Route("prefix", flags=(*CURRICULUM, "--memtx-length-mode", "prefix")),
        Route("warm", warm=True),
        Route("both", flags=CURRICULUM, warm=True),
    )
}
#: The remedies and what they are compared with. `filter` and `prefix` are other curricula;
#: `reference` is `scratch` on the plain loop, which must lose nothing but time.
DEFAULT_ROUTES = ("parallel", "scratch", "curriculum", "warm", "both")


@dataclass(frozen=True)
class RouteFolder(ExperimentFolder):
    """The runs of one route, on data that all routes share."""

    route: str = ""

    def run(self, run: Run) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.path / f"{self.route}-d{run.depth}-s{run.seed}")


@dataclass(frozen=True)
class Comparison:
    """All runs of one command.

    Attributes:
        base: data, sizes and training; ``base.training.max_update`` is that of the Feedback runs.
        folder: where the runs are.
        routes, depth, seeds: what is trained.
        parallel_updates: updates of the Transformer that the warm starts take over.
        curriculum_updates: updates until all lengths are allowed.
    """

    base: Experiment
    folder: Path
    routes: tuple[str, ...]
    depth: int
    seeds: tuple[int, ...]
    parallel_updates: int
    curriculum_updates: int
    threads: int = 1

    def training(self, route: Route, seed: int) -> RunTraining:
        """The training of one run."""
        training = self.base.training
        extra = [*training.extra, *route.flags]
        if route.flags[:2] == CURRICULUM:
            extra += ["--memtx-length-updates", str(self.curriculum_updates)]
        if route.warm:
            parallel = self.training(ROUTES["parallel"], seed).folder.checkpoints
            extra += ["--memtx-init-from", str(parallel / "checkpoint_last.pt")]
        updates = training.max_update if route.name != "parallel" else self.parallel_updates
        training = replace(training, max_update=updates, extra=tuple(extra))
        experiment = replace(self.base, training=training)
        folder = RouteFolder(self.folder, route.name)
        return RunTraining(experiment, folder, Run(route.decoder, self.depth, seed), self.threads)

    def all(self, warm: bool) -> list[tuple[Route, RunTraining]]:
        """The runs that start from others, or those that do not."""
        routes = [ROUTES[name] for name in self.routes if ROUTES[name].warm == warm]
        return [(route, self.training(route, seed)) for seed in self.seeds for route in routes]

    def train(self, at_once: int) -> None:
        """Train what is not trained yet; the warm starts last, since they need the others."""
        for warm in (False, True):
            train_each([training for _, training in self.all(warm)], at_once)

    def record(self, place: Path, command: str) -> None:
        """Write the record of each run."""
        for route, training in [*self.all(warm=False), *self.all(warm=True)]:
            name = f"{route.name}-d{self.depth}-s{training.run.seed}"
            write_json(place / "records" / f"{name}.json", self.describe(route, training, command))

    def describe(self, route: Route, training: RunTraining, command: str) -> dict:
        """The record of one run."""
        commit, dirty = provenance.git_state()
        settings = json.loads(training.folder.settings.read_bytes())
        parallel = self.training(ROUTES["parallel"], training.run.seed) if route.warm else None
        return {
            "experiment": self.base.name,
            "route": route.name,
            "depth": training.run.depth,
            "seed": training.run.seed,
            "commit": commit,
            "dirty": dirty,
            "commands": {
                "remedies": command,
                "train": settings["train_command"],
            },
            "versions": versions(),
            "hardware": provenance.hardware(self.base.device),
            "threads": settings["threads"],
            "data_sha256": hash_of(prepare.read_prepared(training.experiment_folder)["outputs"]),
            **measurements(training, parallel),
        }


def measurements(training: RunTraining, parallel: RunTraining | None) -> dict:
    """What was seen of a training, and of the one that its warm start begins from.

    ``processor_seconds`` are those until each of the ``points``; both they and the ``pace`` are
    left out where they were not noted while the training ran.
    """
    log = training.folder.train_log
    points = remedy_table.read_points(log)
    found: dict = {"points": points, "seconds_before": 0.0}
    if parallel is not None:
        found["seconds_before"] = remedy_table.read_points(parallel.folder.train_log)[-1][1]
    noted = seconds_at(read_ticks(training.notes), "valid")
    if all(updates in noted for updates, _, _ in points):
        before = 0.0 if parallel is None else read_ticks(parallel.notes)[-1].seconds
        found["processor_seconds"] = [noted[updates] for updates, _, _ in points]
        found |= {"processor_seconds_before": before, "pace": pace(training.notes, log)}
    return found


def resolve(args: argparse.Namespace) -> Comparison:
    """The comparison that the command line asks for."""
    base = EXPERIMENTS[BASES[args.name]]
    command_line.check_names("--routes", args.routes, ROUTES)
    if any(ROUTES[name].warm for name in args.routes) and "parallel" not in args.routes:
        raise UserError("`--routes` lacks `parallel`, which the warm starts begin from")
    every = ["--validate-interval-updates", str(args.validate_every), "--no-epoch-checkpoints"]
    training = replace(
        base.training,
        max_update=args.max_update,
        max_epoch=0,
        log_interval=args.log_every,
        save_interval_updates=0,
        extra=(*every, *args.train_args),
    )
    data = replace(base.data, documents=args.documents) if args.documents else base.data
    base = replace(base, name=f"remedies-{args.name}", data=data, training=training)
    return Comparison(
        base=base,
        folder=(args.runs_dir / base.name).resolve(),
        routes=args.routes,
        depth=args.depth,
        seeds=args.seeds,
        parallel_updates=args.parallel_updates or max(1, args.max_update // 2),
        curriculum_updates=args.curriculum_updates or max(1, args.max_update // 3),
        threads=args.threads,
    )


def compare(args: argparse.Namespace) -> None:
    """Prepare, train, record and report."""
    comparison = resolve(args)
    prepare.prepare(comparison.base, ExperimentFolder(comparison.folder), args.corpora)
    comparison.train(args.jobs)
    place = args.results_dir / comparison.base.name
    comparison.record(place, args.command)
    report(place)
    sys.stdout.write((place / "table.md").read_text(encoding="utf-8"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.remedies``."""
    whole, names = command_line.positive_int, command_line.comma_list
    parser = flags.parser(
        "scripts.studies.remedies", __doc__, jobs="side by side; more than cores spoils the times"
    )
    add = parser.add_argument
    add("name", choices=BASES, help="the text")
    add("--routes", type=names, default=DEFAULT_ROUTES, help="some of: " + ",".join(ROUTES))
    add("--depth", type=whole, default=2, help="decoder layers (default: 2)")
    add("--seeds", type=command_line.int_list, default=(1, 2, 3))
    add("--max-update", type=whole, default=2000, help="updates of a Feedback run")
    add("--parallel-updates", type=whole, help="of the Transformer (default: half as many)")
    add("--curriculum-updates", type=whole, help="until all lengths (default: a third as many)")
    add("--log-every", type=whole, default=25, help="updates between lines of the log")
    add("--validate-every", type=whole, default=100, help="updates between validations")
    add("--documents", type=whole, help="size of the sample (default: the generator's)")
    return flags.parse(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.remedies``."""
    args = parse_args(argv)
    return command_line.run(lambda: compare(args))


if __name__ == "__main__":
    raise SystemExit(main())
