"""Error and time of the parallel engine beside the exact one, by sweeps and block size.

``python -m scripts.studies.sweep_error [--layers 2 --length 32] [--out results/sweeps]``
``python -m scripts.studies.sweep_error --checkpoint MODEL.pt --data-bin DIR``

The subject is a Feedback decoder with its starting weights, random words and a made-up source, or a
trained one on batches of its own data; neither has dropout. Of each setting of the engine it is
told how far the states of all layers are from the exact ones (the length of the difference relative
to that of the state, mean and maximum over layers and positions), by how much the loss differs
(bits for each target token), and how far the gradient of all the decoder's parameters and of the
source is from the exact one. Timed, in turns with the manual engine: features forward and backward,
without the projection to the vocabulary; see `bench_training` for clock and memory.

Each subject is one line of ``records.jsonl``; ``table.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from fairseq_memtx.ground.progress import Progress
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, measure, read_records, spread

if TYPE_CHECKING:
    from scripts.studies.sweeps.subjects import Subject

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/sweeps")
EXACT = "manual"
MANUAL = {"engine": EXACT, "sweeps": 8, "sweep_block": 0, "sweep_grads": 0, "sweep_groups": 1}
RUNS_BESIDE_ROUNDS = 3  # for the errors, to warm up, and to weigh


def settings(
    sweeps: Sequence[int],
    blocks: Sequence[int],
    grads: Sequence[int],
    groups: Sequence[int],
    length: int,
) -> Iterator[dict[str, Any]]:
    """The engine's options for all combinations that differ; `length` is the longest target's."""
    for block, strided, through, number in product(blocks, groups, grads, sweeps):
        positions = min(block or length, length)
        if number <= -(-positions // strided) and strided <= positions and through < number:
            yield {
                "engine": "parallel",
                "sweeps": number,
                "sweep_block": 0 if block >= length else block,
                "sweep_grads": through,
                "sweep_groups": strided,
            }


def name_of(options: dict[str, Any]) -> str:
    """A setting's key in a record."""
    if options["engine"] == EXACT:
        return EXACT
    names = ("sweep_block", "sweep_groups", "sweeps", "sweep_grads")
    return "/".join(str(options[name]) for name in names)


def bench(subject: Subject, chosen: Sequence[dict[str, Any]], rounds: int, threads: int) -> dict:
    """Errors, seconds and memory of all settings on a subject; its record."""
    import torch

    from fairseq_memtx.training.host_memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(threads)
    made = benchmark.provenance("sweep_error", threads)
    every = {name_of(options): options for options in (MANUAL, *chosen)}
    with Progress("sweeps", len(every) * (rounds + RUNS_BESIDE_ROUNDS), "runs") as progress:
        found = measure_all(subject, every, rounds, threads, progress)
    return {
        "schema": SCHEMA,
        "name": subject_name(subject.facts),
        "subject": subject.facts,
        **found,
        **made,
    }


def measure_all(
    subject: Subject, every: dict[str, dict], rounds: int, threads: int, progress: Progress
) -> dict[str, Any]:
    """The exact loss, and what was measured of each setting, by name."""
    from scripts.studies.sweeps.subjects import choose, errors, outcome, timed_step

    def run(options: dict[str, Any]) -> Any:
        choose(subject, **options)
        progress.add(1)
        return outcome(subject)

    exact = run(every[EXACT])
    found = {
        name: {**options, "errors": errors(run(options), exact)}
        for name, options in every.items()
        if name != EXACT
    }
    steps = {
        name: counted(timed_step(subject, options, exact.features_grads), progress)
        for name, options in every.items()
    }
    measured = measure(steps, rounds, benchmark.clock(threads))
    return {
        "exact": {"bits": exact.bits, **measured[EXACT]},
        "settings": [{**one, **measured[name]} for name, one in found.items()],
    }


def counted(step: Callable[[], None], progress: Progress) -> Callable[[], None]:
    """A step that tells the progress."""

    def run() -> None:
        step()
        progress.add(1)

    return run


def subject_name(facts: dict[str, Any]) -> str:
    """What a section of the table is called."""
    shapes = facts["shapes"]
    told = ", ".join(f"{rows} x {length}" for rows, length in shapes)
    layers = f"{facts['layers']} layer{'s' if facts['layers'] > 1 else ''}"
    weights, dim = facts["weights"].capitalize(), facts["dim"]
    return f"{weights} weights, {layers}, dimension {dim}, B x T {told}"


HEADER = (
    "block", "groups", "sweeps", "with gradient", "states, mean", "states, max", "bits a token",
    "gradient", "cosine", "seconds", "of manual's", "peak MiB",
)  # fmt: skip


def table(found: Sequence[dict]) -> str:
    """The page: a section for each subject."""
    lines = ["# Error and time of the parallel engine", "", *EXPLANATION, ""]
    for record in found:
        lines += [f"## {record['name']}", "", *section(record), ""]
    return "\n".join(lines)


EXPLANATION = (
    "Relative errors against the exact engine, whose loss stands in the first row of a section;",
    "below it the differences. block: positions that are swept over until they are done. groups:",
    "into which a sweep takes them apart, positions g apart in one, group after group; with 1 all",
    "are computed at once. with gradient: sweeps over a block that the gradient goes through, the",
    "last ones. Seconds: the decoder forward and backward, median (least-most) of rounds in which",
    "all settings take turns. peak: by how much a step raises the memory of the process. More says",
    "`scripts/studies/sweep_error.py`.",
)


def section(record: dict) -> list[str]:
    """A subject's rows, and what they rest on."""
    exact, baseline = record["exact"], median(record["exact"]["seconds"])
    loss = f"{exact['bits']:.4f}"
    rows = [[EXACT, *["-"] * 5, loss, "-", "-", *cost_cells(exact, baseline)]]
    rows += [[*setting_cells(one), *cost_cells(one, baseline)] for one in record["settings"]]
    return [*benchmark.markdown(HEADER, rows, words=0), "", f"{benchmark.conditions(record)}."]


def setting_cells(one: dict) -> tuple[str, ...]:
    """What was set, and its errors."""
    errors = one["errors"]
    return (
        str(one["sweep_block"] or "all"),
        str(one.get("sweep_groups", 1)),  # older records know no groups
        str(one["sweeps"]),
        str(one["sweep_grads"] or "all"),
        f"{errors['state_mean']:.1e}",
        f"{errors['state_max']:.1e}",
        f"{errors['bits']:+.4f}",
        f"{errors['gradient']:.1e}",
        f"{errors['cosine']:.4f}",
    )


def cost_cells(one: dict, baseline: float) -> tuple[str, ...]:
    """Seconds, their ratio to the baseline's, and memory."""
    seconds, peak = one["seconds"], one["peak_bytes"]
    return (
        spread(seconds, 3),
        f"{median(seconds) / baseline:.2f}",
        "-" if peak is None else f"{peak / 2**20:.0f}",
    )


def run(args: argparse.Namespace) -> None:
    """Bench one subject, then make the table."""
    if (args.checkpoint is None) != (args.data_bin is None):
        raise UserError("give both `--checkpoint` and `--data-bin`, or neither")
    subject = load_subject(args)
    length = max(length for _, length in subject.facts["shapes"])
    chosen = list(settings(args.sweeps, args.blocks, args.grads, args.groups, length))
    record = bench(subject, chosen, args.rounds, args.threads)
    add_record(args.out / "records.jsonl", record, "name")
    write_table(args.out)


def load_subject(args: argparse.Namespace) -> Subject:
    """Random unless a checkpoint is given."""
    import torch

    from scripts.studies.sweeps.subjects import random_subject, trained_subject

    torch.manual_seed(1)
    if args.checkpoint is None:
        return random_subject(args.layers, args.dim, args.batch, args.length)
    return trained_subject(
        args.checkpoint, args.data_bin, args.subset, args.max_tokens, args.batches
    )


def write_table(out: Path) -> None:
    """Make ``table.md`` from ``records.jsonl``."""
    write_bytes(out / "table.md", table(read_records(out / "records.jsonl")).encode())
    logger.info("wrote %s", out / "table.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.sweep_error``."""
    number, numbers = command_line.positive_int, command_line.int_list
    parser = benchmark.flags("scripts.studies.sweep_error", __doc__, OUT, rounds=3)
    engine = parser.add_argument_group("settings of the engine, all combinations")
    engine.add_argument(
        "--sweeps", type=numbers, default=(1, 2, 4, 8, 16), help="default: 1,2,4,8,16"
    )
    engine.add_argument(
        "--blocks",
        type=command_line.int_or_zero_list,
        default=(0, 16, 4),
        help="positions; 0: the whole target; default: 0,16,4",
    )
    engine.add_argument(
        "--grads",
        type=command_line.int_or_zero_list,
        default=(0, 2),
        help="last sweeps with a gradient; 0: all; default: 0,2",
    )
    engine.add_argument(
        "--groups", type=numbers, default=(1, 4), help="strided groups of a sweep; default: 1,4"
    )
    random = parser.add_argument_group("random weights")
    for name, default in (("layers", 2), ("dim", 256), ("batch", 8), ("length", 32)):
        random.add_argument(f"--{name}", type=number, default=default, help=f"default: {default}")
    trained = parser.add_argument_group("trained weights")
    trained.add_argument("--checkpoint", type=Path, help="of a Feedback translation model")
    trained.add_argument("--data-bin", type=Path, help="its binarised data")
    trained.add_argument("--subset", default="valid", help="default: valid")
    trained.add_argument(
        "--max-tokens", type=number, default=1000, help="of a batch; default: 1000"
    )
    trained.add_argument("--batches", type=number, default=4, help="default: 4")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.sweep_error``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
