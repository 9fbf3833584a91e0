"""Speed and memory of the data preparation: ``python -m scripts.bench_data KIND``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line

RESULTS = Path("results/data_prep")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_data``."""
    parser = argparse.ArgumentParser(
        prog="scripts.bench_data", description="Measure the preparation, or make the table."
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    _add_stages(kinds.add_parser("stages", help="pairs per second and core of each stage"))
    whole = kinds.add_parser("whole", help="time and memory of one whole preparation")
    _add_whole(whole)
    memory = kinds.add_parser("memory", help="memory on several copies of a corpus")
    memory.add_argument("--copies", type=int, nargs="+", default=[1, 10])
    _add_whole(memory)
    memory.set_defaults(run=run_memory)
    table = kinds.add_parser("table", help="make the table from the records")
    table.add_argument("--results", type=Path, default=RESULTS)
    table.set_defaults(run=run_table)
    return parser.parse_args(argv)


def _add_stages(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run_stages)
    add = parser.add_argument
    add("--name", required=True, help="what the record is called")
    add("--train", nargs="+", required=True, metavar="PREFIX")
    add("--pairs", type=int, default=20_000, help="measured on so many (default: %(default)s)")
    add("--repeats", type=int, default=5)
    add("--vocab-size", type=int, default=8000)
    add("--source-lang", default="en")
    add("--target-lang", default="de")
    add("--results", type=Path, default=RESULTS)


def _add_whole(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run_whole)
    add = parser.add_argument
    add("--name", required=True, help="what the record is called")
    add("--results", type=Path, default=RESULTS)
    add("--train", nargs="+", required=True, metavar="PREFIX")
    add("rest", nargs="*", help="after --: further flags of `parallel`")


def run_stages(args: argparse.Namespace) -> None:
    """Measure each stage alone and record it."""
    from scripts.bench_data.records import append, begin
    from scripts.bench_data.stages import measure_stages

    record = begin("stages", args.name)
    langs = (args.source_lang, args.target_lang)
    measured = measure_stages(args.train, langs, args.pairs, args.repeats, args.vocab_size)
    append(args.results / "stages.jsonl", {**record, **measured})


def run_whole(args: argparse.Namespace) -> None:
    """Run a preparation from nothing and record its times and its memory."""
    from scripts.bench_data.records import append, begin
    from scripts.bench_data.whole import measure_whole

    record = begin("whole", args.name)
    append(args.results / "whole.jsonl", {**record, **measure_whole(args.train, args.rest)})


def run_memory(args: argparse.Namespace) -> None:
    """Do the same on several copies of the training text."""
    from scripts.bench_data.records import append, begin
    from scripts.bench_data.whole import measure_whole

    for copies in args.copies:
        record = begin("memory", args.name)
        measured = measure_whole(args.train, args.rest, copies)
        append(args.results / "memory.jsonl", {**record, **measured})


def run_table(args: argparse.Namespace) -> None:
    """Write the table again from the records."""
    from scripts.bench_data.table import write_table

    write_table(args.results)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_data``."""
    args = parse_args(argv)
    return command_line.run(lambda: args.run(args))
