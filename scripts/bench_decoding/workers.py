"""Processes that share the weights (`memtx translate --workers`) beside threads of one process.

``python -m scripts.bench_decoding.workers --model NAME=CHECKPOINT --text FILE [--threads 2]``

Whole files, from raw text to raw text, by fairseq's generator and by `fast` with the native engine:
with one thread, with N threads of one process, with N processes of one thread. All take turns; what
they translate must be the same. Timed by the wall clock: all but loading.

Each model and generator is one line of ``workers.jsonl``; ``workers.md`` is made from the records
alone (``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import sha256_of, write_bytes
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, markdown, read_records, spread
from scripts.shared.publishing import check_checkout
from scripts.shared.turns import turns

if TYPE_CHECKING:
    from fairseq_memtx.translator import Translator

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/decoding")
NAME = "workers"
GENERATORS = ("fast", "fairseq")
WAYS = ("one thread", "threads", "workers")


def bench(args: argparse.Namespace) -> None:
    """Measure every model with every generator, and make the page after each."""
    check_checkout(args.out)
    if not args.model or args.text is None:
        raise UserError("name a `--model` and a `--text` to measure, or give `--table-only`")
    args.out.mkdir(parents=True, exist_ok=True)
    for model in args.model:
        name, _, path = model.partition("=")
        for generator in GENERATORS:
            add_record(args.out / f"{NAME}.jsonl", measured(args, name, Path(path), generator),
                       "model", "generator")  # fmt: skip
            write_page(args.out)


def measured(args: argparse.Namespace, name: str, path: Path, generator: str) -> dict:
    """The record of a model with a generator."""
    made_by = benchmark.provenance(f"bench_decoding.{NAME}", args.threads)
    lines = args.text.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    lines = lines[: args.lines]
    ways = {way: load(path, args, generator, way) for way in WAYS}
    texts: dict[str, list[str]] = {}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for way in [*WAYS, *turns(WAYS, args.rounds)]:
        took, found = timed(ways[way], lines, args.threads if way == "threads" else 1)
        if way in texts:  # the first is a warm-up
            seconds[way].append(took)
            logger.info("%s, %s, %s: %.2f s", name, generator, way, took)
        if texts.setdefault(way, found) != texts[WAYS[0]] or found != texts[way]:
            raise UserError(f"{name}, {generator}: {way} translate otherwise than {WAYS[0]}")
    return {
        "schema": SCHEMA,
        "model": name,
        "generator": generator,
        "checkpoint": sha256_of(path),
        "lines": len(lines),
        "words": sum(len(text.split()) for text in texts[WAYS[0]]),
        "batch": args.batch_size,
        "seconds": seconds,
        **made_by,
        "clock": "wall",
    }


def load(path: Path, args: argparse.Namespace, generator: str, way: str) -> Translator:
    """A translator that works in one of the ways."""
    from fairseq_memtx.translator import SearchSettings, Translator

    workers = args.threads if way == "workers" else 1
    search = SearchSettings(generator=generator, workers=workers, batch_size=args.batch_size)
    return Translator.from_pretrained(path, args.data, search)


def timed(translator: Translator, lines: Sequence[str], threads: int) -> tuple[float, list[str]]:
    """Seconds for the lines, and their translations."""
    import torch

    torch.set_num_threads(threads)
    start = time.perf_counter()
    found = translator.translate(lines)
    return time.perf_counter() - start, found


def write_page(out: Path) -> None:
    """Make the page from the records there are.

    Raises:
        UserError: if there are none, or they are damaged.
    """
    path = out / f"{NAME}.jsonl"
    records = read_records(path)
    made = benchmark.made_of(path, records, page)
    write_bytes(out / f"{NAME}.md", made.encode())


def page(records: Sequence[dict]) -> str:
    """The whole page."""
    first = records[0]
    count = first["threads"]
    header = ["model", "generator", "one thread", f"{count} threads", f"{count} workers"]
    rows = [
        [record["model"], record["generator"], *(rates(record, way) for way in WAYS)]
        for record in records
    ]
    turns_each = len(first["seconds"][WAYS[0]])
    return "\n".join([
        "# Workers beside threads", "", *markdown(header, rows, words=2), "",
        f"- words/s: median (least-most) of {turns_each} turns; {first['lines']:,} lines from raw"
        f" text to raw text, at most {first['batch']} in a batch. The translations were the same.",
        f"- {benchmark.conditions(first)}",
        "",
    ])  # fmt: skip


def rates(record: dict, way: str) -> str:
    """Words a second of each turn."""
    return spread([record["words"] / seconds for seconds in record["seconds"][way]], digits=0)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding.workers``."""
    parser = benchmark.flags(f"scripts.bench_decoding.{NAME}", __doc__, OUT, rounds=3)
    parser.set_defaults(threads=2)
    add = parser.add_argument
    add("--model", action="append", metavar="NAME=CHECKPOINT", help="for each model")
    add("--text", type=Path, help="raw text to translate")
    add("--data", type=Path, help="folder of the binarised data (default: as in training)")
    add("--lines", type=command_line.positive_int, default=1000, help="default: 1000")
    add("--batch-size", type=command_line.positive_int, default=64, help="default: 64")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding.workers``."""
    return benchmark.main(parse_args(argv), bench, write_page)


if __name__ == "__main__":
    raise SystemExit(main())
