"""Cross entropy with the projection to the vocabulary: fairseq's way, and in pieces over tokens.

``python -m scripts.bench_training.losses [--out results/training_speed]``

Timed and weighed: features to the label-smoothed loss, and back to the gradients of features and of
the projection's weight. "products" are the three matrix products alone, which none can do without.
All take turns in one process. Each vocabulary is a line of ``losses.jsonl``; ``losses.md`` is made
from the records alone (``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from fairseq_memtx.ground.files import write_bytes
from scripts.bench_training.run import OUT
from scripts.shared import benchmark
from scripts.shared.benchmark import Step, add_record, markdown, measure, read_records, spread

logger = logging.getLogger(__name__)

SCHEMA = 1
#: Tokens, dimension, words.
CASES = ((1_000, 256, 6_000), (3_000, 256, 16_000), (2_000, 512, 32_000))
WHOLE, PIECES, PRODUCTS = "fairseq's", "in pieces", "products"


def steps_of(tokens: int, dim: int, words: int) -> dict[str, Step]:
    """What takes turns."""
    import torch
    import torch.nn.functional as F
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    from fairseq_memtx.compute.token_loss import token_loss

    torch.manual_seed(1)
    x, weight = torch.randn(tokens, dim), torch.randn(words, dim) * dim**-0.5
    x.requires_grad_(), weight.requires_grad_()
    target = torch.randint(4, words, (tokens,))

    def back(loss: Any) -> None:
        x.grad = weight.grad = None
        loss.backward()

    def whole() -> None:
        lprobs = F.log_softmax(F.linear(x, weight), dim=-1, dtype=torch.float32)
        back(label_smoothed_nll_loss(lprobs, target, 0.1, ignore_index=1)[0])

    def products() -> None:
        with torch.no_grad():
            logits = F.linear(x, weight)
            logits.mm(weight), logits.t().mm(x)

    pieces = lambda: back(token_loss(x, weight, target, 0.1, 1).loss)  # noqa: E731
    return {WHOLE: whole, PIECES: pieces, PRODUCTS: products}


def bench(case: tuple[int, int, int], rounds: int, threads: int) -> dict:
    """Time and weigh a case; its record."""
    import torch

    from fairseq_memtx.training.host_memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(threads)
    made = benchmark.provenance("bench_training.losses", threads)
    measured = measure(steps_of(*case), rounds, benchmark.clock(threads))
    for name, found in measured.items():
        logger.info("%s: %.4f s", name, median(found["seconds"]))
    told = dict(zip(("tokens", "dim", "words"), case, strict=True))
    return {"schema": SCHEMA, "case": told, "contenders": measured, **made}


def table(found: Sequence[dict]) -> str:
    """The page."""
    header = ("words", "tokens", "dim", "loss", "seconds", "of fairseq's", "peak MiB")
    lines = markdown(header, [row for record in found for row in rows(record)], words=0)
    return "\n".join(
        [
            *("# Cross entropy with the projection to the vocabulary", "", *lines, ""),
            "Seconds forward and back: median (least-most) of rounds in which all take turns."
            " Products are those that both need, alone.",
            *("", *(f"- {benchmark.conditions(record)}" for record in found), ""),
        ]
    )


def rows(record: dict) -> Iterable[tuple[str, ...]]:
    """The rows of a case."""
    case, contenders = record["case"], record["contenders"]
    whole = median(contenders[WHOLE]["seconds"])
    for name, one in contenders.items():
        peak = one["peak_bytes"]
        yield (
            *(f"{case[key]:,}" for key in ("words", "tokens", "dim")),
            name,
            spread(one["seconds"], 3),
            f"{median(one['seconds']) / whole:.2f}",
            "-" if peak is None else f"{peak / 2**20:.0f}",
        )


def run(args: argparse.Namespace) -> None:
    """Bench the cases; each is written when it is done, in the place of an older record of it."""
    for case in CASES:
        record = bench(case, args.rounds, args.threads)
        add_record(args.out / "losses.jsonl", record, "case", "threads")
    write_table(args.out)


def write_table(out: Path) -> None:
    """Make ``losses.md`` from ``losses.jsonl``."""
    write_bytes(out / "losses.md", table(read_records(out / "losses.jsonl")).encode())
    logger.info("wrote %s", out / "losses.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_training.losses``."""
    parser = benchmark.flags("scripts.bench_training.losses", __doc__, OUT, rounds=7)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_training.losses``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
