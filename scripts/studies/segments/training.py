"""Training cost of Transformer-XL and Compressive beside fairseq's Transformer, short and long.

``python -m scripts.studies.segments.training [--lengths 64 2048] [--out results/segments]``

The contenders take turns in one process: a warm-up each, then rounds in an order that rotates.
Timed: the decoder's features forward and backward, the loss of the compression included, from
target tokens and a ready-made source of 64 positions. All batches have as many tokens. With one
thread the processor's time counts, which a busy machine disturbs less than the clock.

Each length is one line of ``training.jsonl``; ``training.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.files import write_bytes
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, measure, read_records, spread

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/segments")
BASELINE = "transformer"
DIM, DEPTH, TOKENS, SOURCE = 512, 2, 2048, 64

#: Segment and memory for each target length: half of a short one, a bounded part of a long one.
SEGMENT = {64: 32, 2048: 128}


def contenders(length: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """The architecture and settings of each contender, by name."""
    segment = SEGMENT.get(length, min(length, 128))
    sizes = {"memtx_segment_len": segment, "memtx_mem_len": segment}
    compressive = {**sizes, "memtx_cmem_len": segment // 2, "memtx_compression_rate": 4}
    return {
        BASELINE: ("transformer", {}),
        "transformer-xl": (DECODERS["transformer-xl"].architecture, sizes),
        "compressive, convolution": (DECODERS["compressive"].architecture, compressive),
        "compressive, mean": (
            DECODERS["compressive"].architecture,
            {**compressive, "memtx_compression": "mean-pool"},
        ),
    }


def training_step(name: str, settings: dict[str, Any], length: int) -> Callable[[], None]:
    """Forward and backward of a decoder, in training mode with dropout 0.1."""
    import torch

    from scripts.shared.contenders import Case, build

    case = Case("decoder", DEPTH, DIM, TOKENS // length, length, encoder_layers=1)
    decoder: Any = build(case, name, **settings).decoder
    tokens = torch.randint(4, case.vocab, (case.batch, length))
    source = torch.randn(SOURCE, case.batch, DIM, requires_grad=True)
    padding = torch.zeros(case.batch, SOURCE, dtype=torch.bool)
    encoder_out = {"encoder_out": [source], "encoder_padding_mask": [padding]}
    grad = torch.randn(case.batch, length, DIM)

    def step() -> None:
        decoder.zero_grad()
        features, extra = decoder(tokens, encoder_out=encoder_out, features_only=True)
        loss = extra.get("compression_loss")
        if loss is None:
            features.backward(grad)
        else:
            torch.autograd.backward([features, loss], [grad, torch.ones_like(loss)])

    return step


def bench(length: int, rounds: int, threads: int) -> dict:
    """Time all contenders at one target length; the record."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    made = benchmark.provenance("bench_segments", threads)
    found = contenders(length)
    steps = {name: training_step(*which, length) for name, which in found.items()}
    return {
        "schema": SCHEMA,
        "length": length,
        "batch": TOKENS // length,
        "sizes": {"dim": DIM, "depth": DEPTH, "source": SOURCE},
        "settings": {name: settings for name, (_, settings) in found.items()},
        "contenders": measure(steps, rounds, benchmark.clock(threads)),
        **made,
    }


def table(found: Sequence[dict]) -> str:
    """One row for each contender at each length."""
    lines = ["# Training cost of the segment decoders", ""]
    lines += ["| B x T | decoder | segment, memory | seconds | of the Transformer's |"]
    lines += ["|---:|---|---|---:|---:|"]
    for record in found:
        seconds = {name: one["seconds"] for name, one in record["contenders"].items()}
        for name, times in seconds.items():
            ratio = median(a / b for a, b in zip(times, seconds[BASELINE], strict=True))
            settings = record["settings"][name]
            segment = settings.get("memtx_segment_len", "-")
            lines.append(
                f"| {record['batch']} x {record['length']} | {name} | {segment} |"
                f" {spread(times, 3)} | {ratio:.2f} |"
            )
    lines += ["", "Seconds of a step: median (least-most); the ratio is the median of rounds'."]
    lines += [conditions(record) for record in found[-1:]]
    return "\n".join([*lines, ""])


def conditions(record: dict) -> str:
    """What a table rests on."""
    sizes = record["sizes"]
    return f"{sizes['depth']} layers, dimension {sizes['dim']}, {benchmark.conditions(record)}."


def run(args: argparse.Namespace) -> None:
    """Bench the lengths, then make the table."""
    for length in args.lengths:
        record = bench(length, args.rounds, args.threads)
        add_record(args.out / "training.jsonl", record, "length")
        for name, one in record["contenders"].items():
            logger.info("T=%d %s: %.3f s", length, name, median(one["seconds"]))
    write_table(args.out)


def write_table(out: Path) -> None:
    """Make ``training.md`` from ``training.jsonl``."""
    write_bytes(out / "training.md", table(read_records(out / "training.jsonl")).encode())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.segments.training``."""
    number = command_line.positive_int
    parser = benchmark.flags("scripts.studies.segments.training", __doc__, OUT, rounds=5)
    parser.add_argument("--lengths", type=number, nargs="+", default=[64, 2048], help="of targets")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.segments.training``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
