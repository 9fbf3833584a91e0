"""Training speed of the Feedback decoder beside fairseq's Transformer and public implementations.

``python -m scripts.bench_training [--cases quick|full] [--out results/training_speed]``

All contenders of a case take turns in one process: a warm-up each, then rounds in an order that
rotates. Timed: "decoder" is the decoder's features forward and backward, from target tokens and a
ready-made source; "peers" is the same without cross-attention, which the public implementations
lack, and without dropout, which they apply elsewhere; "update" is encoder, decoder, projection to
the vocabulary, label-smoothed loss and Adam. Not timed: building models, making batches. There is
no padding. With one thread the processor's time counts, which a busy machine disturbs less than
the clock; with more threads the clock. The process keeps freed memory, for all contenders
(`host_memory.keep_freed_memory`). Memory is the growth of the process's peak over one step, after
the allocator gave back what it held.

Each case is one line of ``records.jsonl``; ``table.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from data_prep.files import write_bytes
from scripts import benchmark
from scripts.benchmark import measure, read_records

if TYPE_CHECKING:
    from scripts.bench_contenders import Case

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/training_speed")
BASELINE = "fairseq"
OURS = "manual"

# what, decoder layers, dimension, sentences, positions
QUICK = [("decoder", 2, 256, 64, 30), ("peers", 2, 256, 64, 30)]
FULL = [
    *(("decoder", depth, 512, 64, 32) for depth in (1, 2, 6)),
    *(("decoder", depth, 256, 64, 32) for depth in (1, 2, 6)),
    *(("decoder", 2, 512, *shape) for shape in ((128, 16), (32, 64), (16, 128))),
    *(("peers", 2, dim, 64, 32) for dim in (512, 256)),
    *(("update", depth, 512, 64, 32) for depth in (1, 6)),
]
CASES = {"quick": QUICK, "full": FULL}
UPDATE_VOCAB = 32_000


def make_case(what: str, depth: int, dim: int, batch: int, length: int) -> Case:
    """A case by its numbers."""
    from scripts.bench_contenders import Case

    vocab = UPDATE_VOCAB if what == "update" else 1000
    dropout = 0.0 if what == "peers" else 0.1  # the peers drop at other places
    return Case(what, depth, dim, batch, length, dropout, vocab)


def bench(case: Case, rounds: int, threads: int) -> dict:
    """Time and weigh all contenders of a case; its record."""
    import torch

    from fairseq_memtx.engine.host_memory import keep_freed_memory
    from scripts.bench_contenders import contenders

    keep_freed_memory()
    torch.set_num_threads(threads)
    made = benchmark.provenance("bench_training", threads)
    measured = measure(contenders(case), rounds, benchmark.clock(threads))
    for name, found in measured.items():
        logger.info("%s: %.3f s", name, median(found["seconds"]))
    return {"schema": SCHEMA, "case": asdict(case), "contenders": measured, **made}


HEADER = ("timed", "layers", "dim", "B x T", "decoder", "seconds", "of fairseq's", "peak MiB")


def table(found: Sequence[dict]) -> str:
    """The page: one row for each contender of each case, and what they rest on."""
    rows = [row for record in found for row in case_rows(record)]
    aligned = ("---", "---:", "---:", "---:", "---", "---:", "---:", "---:")
    lines = ["| " + " | ".join(row) + " |" for row in (HEADER, aligned, *rows)]
    return "\n".join(["# Training speed", "", *lines, "", *conditions(found), ""])


def case_rows(record: dict) -> Iterable[tuple[str, ...]]:
    """The rows of a case: median, least and most seconds, and the ratio of the medians."""
    case, contenders = record["case"], record["contenders"]
    baseline = median(contenders[BASELINE]["seconds"])
    for name, measured in contenders.items():
        seconds, peak = measured["seconds"], measured["peak_bytes"]
        yield (
            case["what"],
            str(case["depth"]),
            str(case["dim"]),
            f"{case['batch']} x {case['length']}",
            f"**{name}**" if name == OURS else name,
            f"{median(seconds):.3f} ({min(seconds):.3f}-{max(seconds):.3f})",
            f"{median(seconds) / baseline:.2f}",
            "-" if peak is None else f"{peak / 2**20:.0f}",
        )


def conditions(found: Sequence[dict]) -> list[str]:
    """What the rows rest on, once for each set of conditions."""
    commits: dict[str, dict[str, None]] = {}
    for record in found:
        versions, hardware = record["versions"], record["hardware"]
        conditions = (
            f"torch {versions.get('torch', '?')}, fairseq-fixed"
            f" {versions.get('fairseq-fixed', '?')}, {hardware['cpu']}, {hardware['cores']} cores,"
            f" {record['threads']} thread(s), {record['clock']} time, float32"
        )
        commits.setdefault(conditions, {})[record["commit"][:12]] = None
    return [
        "Seconds of a step: median (least-most) of rounds in which the contenders take turns.",
        "What is timed, and what not, says `scripts/bench_training.py`. **manual** is ours.",
        "",
        *(f"- {line}; commits {', '.join(sorted(names))}" for line, names in commits.items()),
    ]


def run(out: Path, cases: Sequence[tuple[Any, ...]], rounds: int, threads: int) -> None:
    """Bench the cases; each is written when it is done, in the place of an older record of it."""
    for number, numbers in enumerate(cases, start=1):
        case = make_case(*numbers)
        logger.info("case %d of %d: %s", number, len(cases), case)
        record = bench(case, rounds, threads)
        benchmark.add_record(out / "records.jsonl", record, "case", "threads")
    write_table(out)


def write_table(out: Path) -> None:
    """Make ``table.md`` from ``records.jsonl``."""
    write_bytes(out / "table.md", table(read_records(out / "records.jsonl")).encode())
    logger.info("wrote %s", out / "table.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_training``."""
    parser = argparse.ArgumentParser(
        prog="scripts.bench_training", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--cases", choices=sorted(CASES), default="quick", help="default: quick")
    parser.add_argument("--only", choices=("decoder", "peers", "update"), help="part of the cases")
    benchmark.add_flags(parser, OUT, rounds=5)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_training``."""
    args = parse_args(argv)
    cases = [case for case in CASES[args.cases] if args.only in (None, case[0])]
    return benchmark.main(
        args, lambda: run(args.out, cases, args.rounds, args.threads), write_table
    )


if __name__ == "__main__":
    raise SystemExit(main())
