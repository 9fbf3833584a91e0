"""Where a memory's gradient stops in a pre-norm segment decoder: after the layer's norm, or before.

``python -m scripts.studies.segments.stop_gradient --corpora FOLDER [--updates 250] [--seeds 1,2]``

Both readings of the papers give the same values. Before the norm, a memory's states teach its
parameters too, for another norm and another product in every layer. Language models of the
characters of Tiny Shakespeare, narrower ones than those of ``scripts.studies.char_lm``, are trained
both ways with the same seeds; what counts is the loss on the validation set, read in order.

Each model is one line of ``stop_gradient.jsonl``; ``stop_gradient.md`` is made from the records
alone (``--table-only``).
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.files import write_bytes
from scripts.experiment.folders import ExperimentFolder
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, markdown, read_records, spread
from scripts.studies import flags
from scripts.studies.characters import text
from scripts.studies.characters.configs import DEPTH, EXPERIMENT, MODELS, TEXT, train_command

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/segments")
STUDIED = ("transformer-xl", "compressive")
DIM, FFN, HEADS = 64, 128, 2
READINGS = {"after the norm": False, "before the norm": True}


def train(name: str, data_bin: Path, updates: int, seed: int, teaches_norm: bool) -> dict[str, Any]:
    """Train one model in this process; its validation loss and the processor's time."""
    from fairseq import checkpoint_utils
    from fairseq_cli import train as fairseq_train

    from fairseq_memtx import checkpoints, plugin
    from fairseq_memtx.modules.segment_attention import SegmentAttention

    assert plugin
    vars(checkpoint_utils.save_checkpoint).pop("best", None)  # of the training before
    training = dataclasses.replace(EXPERIMENT.training, max_update=updates)
    sizes = dataclasses.replace(EXPERIMENT.model, embed_dim=DIM, heads=HEADS)
    experiment = dataclasses.replace(EXPERIMENT, training=training, model=sizes)
    model = dataclasses.replace(MODELS[name], ffn_dim=FFN)
    clock = benchmark.clock(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(SegmentAttention, "memory_teaches_norm", teaches_norm),
    ):
        words = train_command(model, experiment, data_bin, Path(folder), seed)
        start = clock()
        with mock.patch.object(sys, "argv", words):
            fairseq_train.cli_main()
        path = Path(folder) / "checkpoint_last.pt"
        saved = checkpoints.describe(path, checkpoints.load(path))
    return {"bits": round(float(saved.score or 0), 4), "seconds": round(clock() - start, 1)}


def bench(name: str, data_bin: Path, updates: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Train one model both ways with each seed; the record."""
    made = benchmark.provenance("studies.segments.stop_gradient", 1)
    runs: dict[str, list[dict[str, Any]]] = {reading: [] for reading in READINGS}
    for seed in seeds:
        for reading, teaches_norm in READINGS.items():
            found = train(name, data_bin, updates, seed, teaches_norm)
            logger.info("%s, %s, seed %d: %s", name, reading, seed, found)
            runs[reading].append({"seed": seed, **found})
    sizes = {"dim": DIM, "ffn": FFN, "heads": HEADS, "layers": DEPTH}
    return {
        "schema": SCHEMA, "model": name, "sizes": sizes, "updates": updates, "runs": runs, **made
    }  # fmt: skip


def table(found: Sequence[dict]) -> str:
    """One row for each model and reading, with the differences of equal seeds."""
    rows = []
    for record in found:
        plain = [run["bits"] for run in record["runs"]["after the norm"]]
        for reading, runs in record["runs"].items():
            bits = [run["bits"] for run in runs]
            less = [one - other for one, other in zip(bits, plain, strict=True)]
            seconds = [run["seconds"] for run in runs]
            rows.append(
                [record["model"], reading, spread(bits, 3), spread(less, 3), spread(seconds, 0)]
            )
    header = ["model", "the gradient stops", "bits a character", "difference", "seconds"]
    last = found[-1]
    seeds = len(last["runs"]["after the norm"])
    lines = ["# Where the memory's gradient stops", "", *markdown(header, rows, 2), ""]
    size = f"{last['sizes']['layers']} layers of dimension {last['sizes']['dim']}"
    lines += [
        f"Validation set of Tiny Shakespeare after {last['updates']} updates, {size}; median"
        f" (least-most) over {seeds} seeds, and of the differences of equal seeds."
        f" {benchmark.conditions(last)}."
    ]
    return "\n".join([*lines, ""])


def run(args: argparse.Namespace) -> None:
    """Prepare the text, train, and make the table."""
    folder = ExperimentFolder((args.runs_dir / EXPERIMENT.name).resolve())
    text.prepare(text.find_text(args.corpora, TEXT), folder)
    for name in STUDIED:
        record = bench(name, folder.data_bin, args.updates, args.seeds)
        add_record(args.out / "stop_gradient.jsonl", record, "model")
    write_table(args.out)


def write_table(out: Path) -> None:
    """Make ``stop_gradient.md`` from ``stop_gradient.jsonl``."""
    page = table(read_records(out / "stop_gradient.jsonl"))
    write_bytes(out / "stop_gradient.md", page.encode())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.segments.stop_gradient``."""
    parser = flags.recording(
        "scripts.studies.segments.stop_gradient", __doc__, OUT, seeds=(1, 2, 3)
    )
    whole = command_line.positive_int
    parser.add_argument("--updates", type=whole, default=250, help="of each training")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.segments.stop_gradient``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
