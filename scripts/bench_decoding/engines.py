"""Engines for a step of the Feedback decoder in a beam search, side by side.

``python -m scripts.bench_decoding.engines [--sizes base-1,base-2,small-1] [--out FOLDER]``

The same step, from embedded words to log-probabilities and the new memory's keys and values, is run
by torch as it is, on the decoding mode's prepared weights, by ONNX Runtime from an export, each in
float and in eight bits, and by AOTInductor. What is kept between steps is not part of it: inputs
are given whole and never copied. Wants ``pip install onnx onnxruntime``, as nothing else here does.

Each size is one line of ``engines.jsonl``; ``engines.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, markdown, read_records, spread
from scripts.shared.turns import turns

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/decoding")
BEAM, SLOTS, SOURCE = 5, 60, 30  # rows a sentence, slots of the past, positions of the source
SENTENCES = (1, 8, 32)
SECONDS = 0.05  # of a round; short steps are repeated within it
#: Model dimension, heads, inner dimension, vocabulary, layers.
SIZES = {
    "base-1": (512, 8, 2048, 32_000, 1),
    "base-2": (512, 8, 2048, 32_000, 2),
    "small-1": (256, 4, 512, 6_008, 1),
}


def bench(size: str, rounds: int, threads: int, compile_too: bool) -> dict:
    """Time all engines at one size; the record."""
    import torch

    from scripts.bench_decoding import engine_subjects as subjects

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    made_by = benchmark.provenance("bench_engines", threads)
    sizes = subjects.Sizes(*SIZES[size])
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        step = subjects.PlainStep(sizes).eval()
        example = subjects.make_inputs(sizes, 8, BEAM, SLOTS, SOURCE)
        engines: dict[str, subjects.Step] = {
            "torch": step,
            "ours": subjects.prepared(step, int8=False),
            "ours int8": subjects.prepared(step, int8=True),
            **subjects.onnx_steps(step, example, Path(folder), threads),
        }
        if compile_too:
            engines["AOTInductor"] = subjects.compiled(step, example, Path(folder))
        found = []
        for sentences in SENTENCES:
            inputs = subjects.make_inputs(sizes, sentences, BEAM, SLOTS, SOURCE)
            measured = time_engines(engines, inputs, rounds, benchmark.clock(threads))
            wanted = step(*inputs)
            for name, engine in engines.items():
                error = subjects.largest_error(engine(*inputs), wanted)
                measured[name]["largest_error"] = float(f"{error:.2g}")
            found.append({"rows": BEAM * sentences, "engines": measured})
            logger.info("%s, %d rows: done", size, BEAM * sentences)
    return {"schema": SCHEMA, "size": size, "sizes": sizes._asdict(), "steps": found, **made_by}


def time_engines(engines: dict, inputs: Sequence, rounds: int, clock) -> dict[str, dict]:
    """Seconds of a step in each round; the engines take turns in an order that rotates."""
    repeats = {}
    for name, engine in engines.items():
        engine(*inputs)
        start = time.perf_counter()
        engine(*inputs)
        repeats[name] = max(1, int(SECONDS / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for name in turns(list(engines), rounds):
        engines[name](*inputs)
        start = clock()
        for _ in range(repeats[name]):
            engines[name](*inputs)
        seconds[name].append(round((clock() - start) / repeats[name], 7))
    return {name: {"seconds": taken} for name, taken in seconds.items()}


def write_table(out: Path) -> None:
    """Make the table from the records there are.

    Raises:
        UserError: if there are none, or they are damaged.
    """
    path = out / "engines.jsonl"
    records = read_records(path)
    try:
        made = page(records)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"`{path}` does not hold whole records ({problem})") from error
    write_bytes(out / "engines.md", made.encode())


def page(records: Sequence[dict]) -> str:
    """The whole page."""
    names = list(dict.fromkeys(name for r in records for s in r["steps"] for name in s["engines"]))
    rows = [
        [record["size"], str(step["rows"]), *(cell(step["engines"].get(name)) for name in names)]
        for record in records
        for step in record["steps"]
    ]
    errors = {
        name: max(
            step["engines"][name]["largest_error"]
            for record in records
            for step in record["steps"]
            if name in step["engines"]
        )
        for name in names
    }
    lines = ["# Engines for a decoding step", "", *markdown(["size", "rows", *names], rows), ""]
    facts = [
        "Milliseconds of a step, median (least-most) of the rounds, the engines in turns: embedded"
        " words to log-probabilities and the new memory's keys and values. Sizes: "
        + "; ".join(
            f"{r['size']}: {', '.join(f'{k} {v:,}' for k, v in r['sizes'].items())}"
            for r in records
        )
        + f". Beam {BEAM}, {SLOTS} slots of the past, source of {SOURCE} positions.",
        "Largest error of a log-probability: "
        + ", ".join(f"{name} {error:.1g}" for name, error in errors.items())
        + ".",
        benchmark.conditions(records[0]) + ".",
    ]
    return "\n".join([*lines, *(f"- {fact}" for fact in facts), ""])


def cell(measured: dict | None) -> str:
    """Median (least-most) in milliseconds."""
    return "" if measured is None else spread([1e3 * value for value in measured["seconds"]])


def run(args: argparse.Namespace) -> None:
    """Bench all sizes and make the table."""
    for size in args.sizes:
        record = bench(size, args.rounds, args.threads, args.compile)
        args.out.mkdir(parents=True, exist_ok=True)
        add_record(args.out / "engines.jsonl", record, "size")
    write_table(args.out)


def names_of_sizes(text: str) -> tuple[str, ...]:
    """An argument type: names of sizes."""
    names = command_line.comma_list(text)
    for name in names:
        if name not in SIZES:
            raise argparse.ArgumentTypeError(f"{name} is not among {', '.join(SIZES)}")
    return names


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding.engines``."""
    parser = benchmark.flags("scripts.bench_decoding.engines", __doc__, OUT, rounds=7)
    parser.add_argument("--sizes", type=names_of_sizes, default=tuple(SIZES), help="of the model")
    parser.add_argument(
        "--compile", action="store_true", help="also AOTInductor: a minute for each size"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding.engines``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
