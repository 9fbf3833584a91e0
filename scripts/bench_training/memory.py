"""Peak memory of training against the target's length: the Feedback decoder and fairseq's.

``python -m scripts.bench_training.memory [--lengths 32,64,128,256,512]``

The step is that of ``bench_training``: a decoder's features forward and backward, weights'
gradients included. Its peak is by how much it raises the resident memory of the process, after a
step to warm up and after the allocator gave back what it held.

Each length is one line of ``memory.jsonl``; ``memory.md``, ``memory.png`` and ``memory.svg`` are
made from the records alone (``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from fairseq_memtx.ground import command_line, figures
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from scripts.bench_training.run import BASELINE, OURS, OUT, make_case
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, peak_bytes, read_records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scripts.shared.contenders import Case

logger = logging.getLogger(__name__)

SCHEMA = 1
DEPTH, DIM, BATCH = 2, 256, 8
LENGTHS = (32, 64, 128, 256, 512)


def bench(case: Case, rounds: int, threads: int) -> dict:
    """Weigh all contenders of a case, in turns; the record.

    Raises:
        UserError: where the system does not tell a process's memory.
    """
    import torch

    from scripts.shared.contenders import contenders

    torch.set_num_threads(threads)
    made = benchmark.provenance("bench_memory", threads)
    steps = contenders(case)
    peaks: dict[str, list[int]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            peak = peak_bytes(step)
            if peak is None:
                raise UserError("memory can be measured on Linux only: it is told in /proc")
            peaks[name].append(peak)
    told = ", ".join(f"{name} {median(found) / 2**20:.0f} MiB" for name, found in peaks.items())
    logger.info("T = %d: %s", case.length, told)
    return {"schema": SCHEMA, "case": asdict(case), "peak_bytes": peaks, **made}


def table(found: Sequence[dict]) -> str:
    """The page: one row for each length, and how memory grows at the end."""
    names = list(found[0]["peak_bytes"])
    header = [
        "T",
        *(f"{name}: MiB" for name in names),
        *(f"{name}: KiB a position" for name in names),
    ]
    rows = [list(cells(record)) for record in found]
    case = found[-1]["case"]
    return "\n".join(
        [
            "# Peak memory of training by length",
            "",
            *benchmark.markdown(header, rows, words=0),
            "",
            f"{case['depth']} layers, dimension {case['dim']}, {case['batch']} sentences, sources"
            " as long as targets.",
            "Decoder forward and backward: median (least-most). A position is one of one sentence.",
            "What grows with the square of the length in manual and in fairseq's are the",
            "probabilities of attention; reference also copies the memories at every position.",
            "How this is measured says `scripts/bench_memory.py`.",
            "",
            *growth(found),
            "",
            "![memory against length](memory.png)",
            "",
            f"{benchmark.conditions(found[-1])}.",
            "",
        ]
    )


def cells(record: dict) -> Iterator[str]:
    """The length, each contender's MiB, and its KiB for each position of each sentence."""
    case, peaks = record["case"], record["peak_bytes"]
    yield str(case["length"])
    for found in peaks.values():
        low, middle, high = (f(found) / 2**20 for f in (min, median, max))
        yield f"{middle:.0f} ({low:.0f}-{high:.0f})"
    for found in peaks.values():
        yield f"{median(found) / 2**10 / case['length'] / case['batch']:.1f}"


def growth(found: Sequence[dict]) -> list[str]:
    """By what factor memory grows over the longest doubling, where there are two lengths."""
    if len(found) < 2:
        return []
    before, last = found[-2:]
    factor = last["case"]["length"] / before["case"]["length"]
    told = [
        f"{name}'s by {median(peaks) / median(before['peak_bytes'][name]):.2f}"
        for name, peaks in last["peak_bytes"].items()
    ]
    return [
        f"From {before['case']['length']} to {last['case']['length']} positions, {factor:g} times"
        f" as many, memory grows: {', '.join(told)}."
    ]


def figure(found: Sequence[dict]) -> Figure:
    """Memory against length, a curve for each contender, on logarithmic axes."""
    result, (panel,) = figures.new_figure(1)
    lengths = [record["case"]["length"] for record in found]
    for name in found[0]["peak_bytes"]:
        peaks = [median(record["peak_bytes"][name]) / 2**20 for record in found]
        style = {OURS: "-o", BASELINE: "-s"}.get(name, "--^")
        panel.plot(lengths, peaks, style, label=name)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log", base=2)
    panel.xaxis.set_major_formatter("{x:.0f}")
    panel.yaxis.set_major_formatter("{x:.0f}")
    panel.set_xlabel("target positions")
    panel.set_ylabel("peak memory of a step, MiB")
    panel.grid(alpha=0.3)
    panel.legend()
    return result


def run(args: argparse.Namespace) -> None:
    """Weigh at all lengths, then make the table and the plot."""
    for length in args.lengths:
        case = make_case("decoder", DEPTH, DIM, BATCH, length)
        record = bench(case, args.rounds, args.threads)
        add_record(args.out / "memory.jsonl", record, "case", "threads")
    write_table(args.out)


def write_table(out: Path) -> None:
    """Make ``memory.md`` and the plot from ``memory.jsonl``."""
    found = read_records(out / "memory.jsonl")
    write_bytes(out / "memory.md", table(found).encode())
    figures.save(figure(found), out / "memory.png")
    logger.info("wrote %s", out / "memory.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_training.memory``."""
    parser = benchmark.flags("scripts.bench_training.memory", __doc__, OUT, rounds=3)
    told = ",".join(str(length) for length in LENGTHS)
    parser.add_argument(
        "--lengths",
        type=command_line.int_list,
        default=LENGTHS,
        help=f"of targets; default: {told}",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_training.memory``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
