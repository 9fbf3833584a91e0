"""Whole updates of every architecture: fairseq's way, and each choice of `--memtx-cpu-math`.

``python -m scripts.bench_training.updates [--sizes multi30k,base] [--out results/training_speed]``

An update is what fairseq's trainer makes: encoder, decoder, label-smoothed cross entropy, backward,
division by the number of tokens, clipping and fairseq's Adam. "stock" computes it as fairseq-fixed
does, whatever the architecture; "torch", "float32" and "bfloat16" as our tasks do with that choice
(bfloat16 only where the processor has it). The sentences of a batch have 90 to 100 percent of its
length, as in one that fairseq has sorted. All take turns in one process, with the processor's time
where there is one thread; freed memory is kept for all of them. Each size is a line of
``updates.jsonl``; ``updates.md`` is made from the records alone (``--table-only``).
"""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground.files import write_bytes
from scripts.bench_training.run import OUT
from scripts.shared import benchmark
from scripts.shared.benchmark import Step, add_record, markdown, measure, read_records, spread

if TYPE_CHECKING:
    from scripts.shared.contenders import Case

logger = logging.getLogger(__name__)

SCHEMA = 1
#: Decoder layers, dimension, sentences, positions, words, encoder layers.
SIZES = {
    "multi30k": (1, 256, 64, 16, 6_000, 3),
    **{f"multi30k-128-d{depth}": (depth, 128, 128, 16, 6_000, 3) for depth in (1, 2, 4)},
    **{f"wmt14-mini-d{depth}": (depth, 256, 96, 30, 8_000, 3) for depth in (1, 2, 4)},
    "base": (1, 512, 64, 32, 32_000, 6),
    "base-d6": (6, 512, 64, 32, 32_000, 6),
}
USUAL = "multi30k,base"
STOCK, MATHS = "stock", ("torch", "float32", "bfloat16")
SEGMENTS = {"memtx_segment_len": 16, "memtx_mem_len": 16}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "transformer": {},
    "memtx_feedback": {},
    "memtx_transformer_xl": SEGMENTS,
    "memtx_compressive": {**SEGMENTS, "memtx_compression_rate": 4},
}
TRANSFORMER = "transformer"
#: torch's names of what multiplies matrices.
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear_pointwise")


def make_case(size: str) -> Case:
    """The case of a size."""
    from scripts.shared.contenders import Case

    depth, dim, batch, length, vocab, encoder_layers = SIZES[size]
    return Case("update", depth, dim, batch, length, 0.1, vocab, encoder_layers)


def make_batch(case: Case) -> dict[str, Any]:
    """A batch as fairseq's tasks make it; sources are padded left, targets right."""
    import torch

    from scripts.shared.contenders import random_tokens

    torch.manual_seed(1)
    sides = []
    for left in (True, False):
        tokens = random_tokens(case)
        lengths = torch.randint(-(-9 * case.length // 10), case.length + 1, (case.batch,))
        lengths[0] = case.length
        place = torch.arange(case.length)
        padded = place < (case.length - lengths[:, None]) if left else place >= lengths[:, None]
        sides.append((tokens.masked_fill(padded, 1), lengths))
    (source, lengths), (target, target_lengths) = sides
    return {
        "net_input": {
            "src_tokens": source,
            "src_lengths": lengths,
            "prev_output_tokens": target.roll(1, dims=1),
        },
        "target": target,
        "ntokens": int(target_lengths.sum()),
        "nsentences": case.batch,
    }


def update_step(case: Case, arch: str, math: str, batch: dict[str, Any]) -> Step:
    """An update of an architecture, computed as `math` says."""
    from scripts.bench_training.trainings import Training
    from scripts.shared.contenders import build

    return Training(build(case, arch, **ARCHITECTURES[arch]), math, case.vocab, batch).update


def bench(size: str, archs: Sequence[str], rounds: int, threads: int) -> dict:
    """Time and weigh all updates of a size; its record."""
    import torch

    from fairseq_memtx.tasks.computing import has_bfloat16
    from fairseq_memtx.training.host_memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(threads)
    made = benchmark.provenance("bench_training.updates", threads)
    case = make_case(size)
    batch = make_batch(case)
    maths = [STOCK, *(math for math in MATHS if math != "bfloat16" or has_bfloat16())]
    steps = {
        f"{arch} {math}": update_step(case, arch, math, batch) for arch in archs for math in maths
    }
    measured = measure(steps, rounds, benchmark.clock(threads))
    for name, step in steps.items():
        measured[name]["products_share"] = round(products_share(step), 3)
    for name, found in measured.items():
        logger.info("%s: %.4f s", name, median(found["seconds"]))
    told = {"schema": SCHEMA, "size": size, "case": asdict(case), "tokens": batch["ntokens"]}
    return {**told, "bfloat16": has_bfloat16(), "contenders": measured, **made}


def products_share(step: Step) -> float:
    """The share of products of matrices in the time of all of a step's operations."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    times = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    return sum(times.get(name, 0.0) for name in PRODUCTS) / sum(times.values())


HEADER = (
    *("size", "architecture", "products and loss", "seconds", "tokens/s"),
    *("faster than stock", "of the Transformer's time", "peak MiB"),
)


def table(found: Sequence[dict]) -> str:
    """The page: a row for each architecture and way to compute."""
    rows = [row for record in found for row in size_rows(record)]
    lines = markdown(HEADER, rows, words=3)
    return "\n".join(["# Whole updates", "", *lines, "", *findings(found), *conditions(found), ""])


def size_rows(record: dict) -> Iterable[tuple[str, ...]]:
    """The rows of a size; both ratios are those of medians."""
    seconds = {name: median(one["seconds"]) for name, one in record["contenders"].items()}
    for name, one in record["contenders"].items():
        arch, math = name.split(" ")
        transformer = seconds.get(f"{TRANSFORMER} {math}")
        peak = one["peak_bytes"]
        yield (
            record["size"],
            arch,
            math,
            spread(one["seconds"], 3),
            f"{record['tokens'] / seconds[name]:,.0f}",
            f"{seconds[f'{arch} {STOCK}'] / seconds[name]:.2f}",
            "-" if transformer is None else f"{seconds[name] / transformer:.2f}",
            "-" if peak is None else f"{peak / 2**20:.0f}",
        )


def findings(found: Sequence[dict]) -> list[str]:
    """What a reader must know to read the ratios."""
    lines = [
        "Seconds of an update: median (least-most) of rounds in which all take turns. Tokens are"
        " those of the target that are no padding. The last ratio is to the Transformer computed"
        " in the same way, so with equal products."
    ]
    shares = [
        f"{100 * one['products_share']:.0f} % of {name.split(' ')[0]}'s ({record['size']})"
        for record in found
        for name, one in record["contenders"].items()
        if name.endswith(f" {STOCK}") and "products_share" in one
    ]
    if shares:
        lines.append(
            f"Matrix products take {', '.join(shares)} stock update by torch's profiler: where no"
            " library multiplies faster, an update cannot become faster than all the rest allows."
        )
    without = sorted({record["hardware"]["cpu"] for record in found if not record["bfloat16"]})
    if without:
        lines.append(
            f"No row for bfloat16: {', '.join(without)} as measured has no instructions for it."
        )
    return [*lines, ""]


def conditions(found: Sequence[dict]) -> list[str]:
    """What the rows rest on."""
    return [f"- {record['size']}: {benchmark.conditions(record)}" for record in found]


def run(args: argparse.Namespace) -> None:
    """Bench the sizes; each is written when it is done, in the place of an older record of it."""
    for size in args.sizes:
        record = bench(size, args.archs, args.rounds, args.threads)
        add_record(args.out / "updates.jsonl", record, "size", "threads")
    write_table(args.out)


def write_table(out: Path) -> None:
    """Make ``updates.md`` from ``updates.jsonl``."""
    write_bytes(out / "updates.md", table(read_records(out / "updates.jsonl")).encode())
    logger.info("wrote %s", out / "updates.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_training.updates``."""
    parser = benchmark.flags("scripts.bench_training.updates", __doc__, OUT, rounds=7)
    for name, known, usual in (
        ("sizes", SIZES, USUAL),
        ("archs", ARCHITECTURES, ",".join(ARCHITECTURES)),
    ):
        parser.add_argument(
            f"--{name}",
            type=functools.partial(one_of, known=known),
            default=one_of(usual, known),
            help=f"separated by commas, of {', '.join(known)}; default: {usual}",
        )
    return parser.parse_args(argv)


def one_of(text: str, known: Iterable[str]) -> list[str]:
    """The names in a text, separated by commas."""
    names = text.split(",")
    wrong = [name for name in names if name not in known]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(known)}")
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_training.updates``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
