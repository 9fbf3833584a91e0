"""Training speed of the Feedback decoder beside fairseq's Transformer and public implementations.

``python -m scripts.bench_training [--cases quick|full] [--out results/training_speed]``

All contenders of a case take turns in one process: a warm-up each, then rounds in an order that
rotates. Timed: "decoder" is the decoder's features forward and backward, from target tokens and a
ready-made source; "peers" is the same without cross-attention, which the public implementations
lack, and without dropout, which they apply elsewhere; "update" is encoder, decoder, projection to
the vocabulary, label-smoothed loss and Adam. Not timed: building models, making batches. There is
no padding. With one thread the processor's time counts, which a busy machine disturbs less than
the clock; with more threads the clock. The process keeps freed memory, for all contenders, as
trainings with our tasks do (`host_memory.keep_freed_memory`). Memory is the growth of the process's
peak over one step, after the allocator gave back what it held. `make peers` installs the public
implementations; what is missing is left out.

Each case is one line of ``records.jsonl``; ``table.md`` is made from the records alone
(``--table-only``).

``python -m scripts.bench_training --device cuda`` does the same on a GPU, in bfloat16 and into
``results/training_speed_gpu``: the engine cuda-graphs beside the others, at 4, 16 and 32 thousand
target tokens. See `benchmark_gpu` for the clock and the memory there.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from scripts.shared import benchmark
from scripts.shared import gpu as benchmark_gpu
from scripts.shared.benchmark import measure, read_records, spread

if TYPE_CHECKING:
    from scripts.shared.contenders import Case, Place

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT, GPU_OUT = Path("results/training_speed"), Path("results/training_speed_gpu")
BASELINE = "fairseq"
OURS, GPU_OURS = "manual", "cuda-graphs"

# what, decoder layers, dimension, sentences, positions
QUICK = [("decoder", 2, 256, 64, 30), ("peers", 2, 256, 64, 30)]
FULL = [
    *(("decoder", depth, 512, 64, 32) for depth in (1, 2, 6)),
    *(("decoder", depth, 256, 64, 32) for depth in (1, 2, 6)),
    *(("decoder", 2, 512, *shape) for shape in ((128, 16), (32, 64), (16, 128))),
    *(("peers", depth, dim, 64, 32) for dim in (512, 256) for depth in (1, 2, 6)),
    *(("update", depth, dim, 64, 32) for dim in (512, 256) for depth in (1, 2, 6)),
]
# 4, 16 and 32 thousand tokens, in targets of a usual length
GPU = [
    *(("decoder", depth, 512, batch, 30) for depth in (1, 2, 6) for batch in (136, 544, 1088)),
    *(("update", depth, 512, 544, 30) for depth in (1, 6)),
]
CASES = {"quick": QUICK, "full": FULL, "gpu": GPU}
# What a device has where the flags say nothing
USUAL = {
    "cpu": {"cases": "quick", "dtype": "float32", "out": OUT},
    "cuda": {"cases": "gpu", "dtype": "bf16", "out": GPU_OUT},
}
UPDATE_VOCAB = 32_000


def make_case(what: str, depth: int, dim: int, batch: int, length: int) -> Case:
    """A case by its numbers."""
    from scripts.shared.contenders import Case

    vocab = UPDATE_VOCAB if what == "update" else 1000
    dropout = 0.0 if what == "peers" else 0.1  # the peers drop at other places
    return Case(what, depth, dim, batch, length, dropout, vocab)


def bench(case: Case, rounds: int, threads: int, place: Place) -> dict:
    """Time and weigh all contenders of a case; its record."""
    import torch

    from fairseq_memtx.training.host_memory import keep_freed_memory
    from scripts.shared.contenders import contenders

    keep_freed_memory()
    torch.set_num_threads(threads)
    made = benchmark.provenance("bench_training", threads)
    if place.device == "cuda":
        benchmark_gpu.forget_recordings()
        made |= benchmark_gpu.provenance()
        measured = benchmark_gpu.measure(contenders(case, place), rounds)
    else:
        measured = measure(contenders(case, place), rounds, benchmark.clock(threads))
    for name, found in measured.items():
        logger.info("%s: %.4f s", name, median(found["seconds"]))
    told = {"schema": SCHEMA, "case": asdict(case), "dtype": place.dtype}
    return {**told, "contenders": measured, **made}


EQUAL_PRODUCTS = (
    "Here ours multiplies through oneDNN and fairseq's through MKL, as torch chooses: where oneDNN"
    " is the faster one, a part of the ratio is the library's merit. `updates.md` has whole updates"
    " of both with equal products."
)
HEADER = ("timed", "layers", "dim", "B x T", "decoder", "seconds", "of fairseq's", "peak MiB")


def table(found: Sequence[dict]) -> str:
    """The page: one row for each contender of each case, and what they rest on."""
    rows = [row for record in found for row in case_rows(record)]
    aligned = ("---", "---:", "---:", "---:", "---", "---:", "---:", "---:")
    lines = ["| " + " | ".join(row) + " |" for row in (HEADER, aligned, *rows)]
    return "\n".join(["# Training speed", "", *lines, "", *conditions(found), ""])


def case_rows(record: dict) -> Iterable[tuple[str, ...]]:
    """The rows of a case: median, least and most seconds, and the ratio of the medians."""
    case, contenders, on_gpu = record["case"], record["contenders"], "gpu" in record
    digits = 5 if on_gpu else 3
    baseline = median(contenders[BASELINE]["seconds"])
    for name, measured in contenders.items():
        seconds, peak = measured["seconds"], measured["peak_bytes"]
        yield (
            case["what"],
            str(case["depth"]),
            str(case["dim"]),
            f"{case['batch']} x {case['length']}",
            f"**{name}**" if name == ours(record) else name,
            spread(seconds, digits),
            f"{median(seconds) / baseline:.2f}",
            "-" if peak is None else f"{peak / 2**20:.0f}",
        )


def ours(record: dict) -> str:
    """The name of our contender."""
    return GPU_OURS if "gpu" in record else OURS


def conditions(found: Sequence[dict]) -> list[str]:
    """What the rows rest on, once for each set of conditions."""
    commits: dict[str, dict[str, None]] = {}
    for record in found:
        versions, hardware = record["versions"], record["hardware"]
        gpu = f", {record['gpu']}, CUDA {record['cuda']}" if "gpu" in record else ""
        conditions = (
            f"torch {versions.get('torch', '?')}, fairseq-fixed"
            f" {versions.get('fairseq-fixed', '?')}, {hardware['cpu']}, {hardware['cores']} cores,"
            f" {record['threads']} thread(s){gpu}, {record['clock']} time,"
            f" {record['dtype']}"
        )
        commits.setdefault(conditions, {})[record["commit"][:12]] = None
    return [
        "Seconds of a step: median (least-most) of rounds in which the contenders take turns.",
        "What is timed, and what not, says `scripts/bench_training.py`."
        f" **{ours(found[0])}** is ours.",
        *([] if "gpu" in found[0] else ["", EQUAL_PRODUCTS]),
        "",
        *(f"- {line}; commits {', '.join(sorted(names))}" for line, names in commits.items()),
    ]


def run(args: argparse.Namespace) -> None:
    """Bench the cases that the command line chooses."""
    cases = [case for case in CASES[args.cases] if args.only in (None, case[0])]
    run_cases(args.out, cases, args.rounds, args.threads, args.device, args.dtype)


def run_cases(
    out: Path,
    cases: Sequence[tuple[Any, ...]],
    rounds: int,
    threads: int,
    device: str = "cpu",
    dtype: str = "float32",
) -> None:
    """Bench the cases; each is written when it is done, in the place of an older record of it.

    Raises:
        UserError: without the device, or without any case.
    """
    if not cases:
        raise UserError("`--only` leaves none of `--cases`: name a kind that they have")
    if device == "cuda":
        benchmark_gpu.require()
    from scripts.shared.contenders import Place

    for number, numbers in enumerate(cases, start=1):
        case = make_case(*numbers)
        logger.info("case %d of %d: %s", number, len(cases), case)
        record = bench(case, rounds, threads, Place(device, dtype))
        benchmark.add_record(out / "records.jsonl", record, "case", "threads", "dtype")
    write_table(out)


def write_table(out: Path) -> None:
    """Make ``table.md`` from ``records.jsonl``."""
    write_bytes(out / "table.md", table(read_records(out / "records.jsonl")).encode())
    logger.info("wrote %s", out / "table.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_training``."""
    parser = benchmark.flags("scripts.bench_training", __doc__, OUT, rounds=5)
    parser.add_argument("--device", choices=sorted(USUAL), default="cpu", help="default: cpu")
    parser.add_argument(
        "--dtype", choices=("float32", "bf16"), help="default: float32, on a GPU bf16"
    )
    parser.add_argument("--cases", choices=sorted(CASES), help="default: quick, on a GPU gpu")
    parser.add_argument("--only", choices=("decoder", "peers", "update"), help="part of the cases")
    parser.set_defaults(out=None)
    args = parser.parse_args(argv)
    for name, value in USUAL[args.device].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_training``."""
    return benchmark.main(parse_args(argv), run, write_table)
