"""Whether a training in bfloat16 ends at the loss of one in float32.

``python -m scripts.studies.precision --corpora FOLDER [--max-epoch 5] [--seeds 1,2]``

The smallest models of the experiment ``multi30k`` are trained with ``--memtx-cpu-math float32`` and
``bfloat16``, the same data, seeds and learning rate. What counts is the validation loss after each
epoch, beside what another seed makes of it.

Each training is one line of ``precision.jsonl``; ``precision.md`` and its plot are made from the
records alone (``--table-only``). What is trained is not trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground import command_line, figures
from fairseq_memtx.ground.files import write_bytes
from scripts.experiment.configs import EXPERIMENTS, Experiment
from scripts.experiment.folders import ExperimentFolder, Run, RunFolder
from scripts.experiment.stages import prepare
from scripts.experiment.stages.clock import read_ticks, seconds_at
from scripts.experiment.stages.train import RunTraining, train_each
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, made_of, markdown, read_records, spread
from scripts.studies import flags
from scripts.studies.cures.table import read_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = 1
NAME = "precision"
OUT = Path("results/training_speed")
BASE = "multi30k"
STUDIED = ("transformer", "feedback")
PLAIN, FAST = MATHS = ("float32", "bfloat16")
COLOURS = {
    ("transformer", PLAIN): "#8c8c8c", ("transformer", FAST): "#4c72b0",
    ("feedback", PLAIN): "#dd8452", ("feedback", FAST): "#55a868",
}  # fmt: skip


@dataclass(frozen=True)
class MathFolder(ExperimentFolder):
    """The runs with one kind of products, on data that all share."""

    math: str = PLAIN

    def run(self, run: Run) -> RunFolder:
        """The folder of one run."""
        return RunFolder(self.path / f"{run.name}-{self.math}")


def trainings(args: argparse.Namespace, base: Experiment, folder: Path) -> Iterator[RunTraining]:
    """Every training; those that are compared follow each other."""
    for seed in args.seeds:
        for decoder in STUDIED:
            for math in MATHS:
                settings = dataclasses.replace(
                    base.training, cpu_math=math, max_epoch=args.max_epoch, patience=0
                )
                experiment = dataclasses.replace(base, name=NAME, training=settings)
                yield RunTraining(experiment, MathFolder(folder, math), Run(decoder, 1, seed), 1)


def describe(training: RunTraining, made: dict[str, Any]) -> dict[str, Any]:
    """The record of one training: updates, bits a subword and processor seconds until then."""
    points = read_points(training.folder.train_log)
    seconds = seconds_at(read_ticks(training.notes), "valid")
    experiment, run = training.experiment, training.run
    return {
        "schema": SCHEMA,
        "decoder": run.decoder,
        "math": experiment.training.cpu_math,
        "seed": run.seed,
        "model": dataclasses.asdict(experiment.model),
        "points": [[updates, bits, seconds.get(updates)] for updates, _, bits in points],
        **made,
    }


def table(found: Sequence[dict]) -> str:
    """One row for each decoder and kind of products, with the differences of equal seeds."""
    losses = {(one["decoder"], one["math"], one["seed"]): one["points"][-1][1] for one in found}
    rows = []
    for decoder in STUDIED:
        for math in MATHS:
            runs = [one for one in found if (one["decoder"], one["math"]) == (decoder, math)]
            less = [one["points"][-1][1] - losses[decoder, PLAIN, one["seed"]] for one in runs]
            ends = [one["points"][-1][1] for one in runs]
            seconds = [one["points"][-1][2] for one in runs]
            row = [decoder, math, str(len(runs)), spread(ends, 3), spread(less, 3)]
            rows.append([*row, spread(seconds, 0)])
    header = ["decoder", "products", "seeds", "bits a subword", "difference", "processor seconds"]
    last = found[-1]
    sizes = f"{last['model']['encoder_layers']} encoder layers, one decoder layer"
    text = (
        f"Validation loss of Multi30k after {last['points'][-1][0]:,} updates, {sizes},"
        f" {last['model']['embed_dim']} dimensions; median (least-most) over seeds, and of the"
        " differences of equal seeds from float32. Seconds of one thread, with the validations, on"
        f" a processor that other work shared: {last['hardware']['cpu']}, torch"
        f" {last['versions'].get('torch', '?')}, commit {last['commit'][:12]}."
    )
    head = ["# Trainings in bfloat16 beside float32", "", *markdown(header, rows, 2)]
    return "\n".join([*head, "", text, "", f"![Loss by updates]({NAME}.png)", ""])


def curves(found: Sequence[dict]) -> Figure:
    """Validation loss against updates, a panel for each decoder and a line for each training."""
    figure, panels = figures.new_figure(len(STUDIED))
    for panel, decoder in zip(panels, STUDIED, strict=True):
        named = set()
        for one in (one for one in found if one["decoder"] == decoder):
            key = (decoder, one["math"])
            label = None if key in named else one["math"]
            named.add(key)
            updates, bits = ([point[i] for point in one["points"]] for i in (0, 1))
            panel.plot(updates, bits, color=COLOURS[key], label=label, linewidth=1)
        panel.set_title(decoder)
        panel.set_xlabel("updates")
        panel.set_ylabel("validation loss (bits for each subword)")
        panel.grid(alpha=0.3)
        panel.legend()
    return figure


def run(args: argparse.Namespace) -> None:
    """Prepare, train, record, and make the table."""
    folder = (args.runs_dir / NAME).resolve()
    base = EXPERIMENTS[BASE]
    made = benchmark.provenance(f"studies.{NAME}", 1)
    prepare.prepare(base, ExperimentFolder(folder), args.corpora)
    wanted = list(trainings(args, base, folder))
    train_each(wanted, args.jobs)
    for training in wanted:
        add_record(args.out / f"{NAME}.jsonl", describe(training, made), "decoder", "math", "seed")
    write_table(args.out)


def write_table(out: Path) -> None:
    """Make ``precision.md`` and its plot from ``precision.jsonl``."""
    path = out / f"{NAME}.jsonl"
    found = read_records(path)
    write_bytes(out / f"{NAME}.md", made_of(path, found, table).encode())
    figures.save(made_of(path, found, curves), out / NAME)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.precision``."""
    parser = flags.recording(f"scripts.studies.{NAME}", __doc__, OUT, seeds=(1, 2))
    whole = command_line.positive_int
    parser.add_argument("--max-epoch", type=whole, default=5, help="of each training")
    parser.add_argument("--jobs", type=whole, default=1, help="trainings side by side")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.precision``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
