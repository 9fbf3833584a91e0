"""The native engine beside CTranslate2 on untrained models, and what it is held to.

``python -m scripts.bench_decoding.goals [--rows small,base-shortlist] [--models runs/untrained]``

Each row is a size of model and a way to decode; for each of its depths the Feedback decoder and the
Transformer in the engine, and the Transformer in CTranslate2, translate the same batches in turns,
in one process, timed by the processor's clock. CTranslate2 is told to use AVX-512, which it does
not by itself on AMD; in the rows `avx2` both are held to AVX2.

Each depth of a row is one line of ``goals.jsonl``. What is there already of the same commit is not
measured again, so that the command can be interrupted; ``goals.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.files import write_bytes
from scripts.bench_decoding.apart import (
    KEPT,
    SIZES,
    Timing,
    command,
    conditions,
    is_measured,
    timed,
)
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, markdown, read_records, spread
from scripts.shared.tables import rate

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT, MODELS = Path("results/decoding"), Path("runs/untrained")
NAME = "goals"
BATCHES = (1, 8, 32)
LINES = {"small": (60, 160, 320), "base": (10, 24, 32)}
OURS, RIVAL = ("feedback", "transformer"), "ctranslate2"
BEST = {"CT2_FORCE_CPU_ISA": "AVX512"}
AVX2 = {"CT2_FORCE_CPU_ISA": "AVX2", "MEMTX_NATIVE_LEVEL": "avx2"}


@dataclass(frozen=True)
class Row:
    """What is held to what.

    Attributes:
        size: of the models.
        depths: decoder layers.
        words: of the mode, after `fast` and `ct2`.
        goals: times the rival's words a second, at each batch size.
        environment: variables that choose the instructions.
    """

    size: str
    depths: tuple[int, ...]
    words: str
    goals: tuple[float, float, float]
    environment: dict[str, str]


ROWS = {
    "small": Row("small", (1, 2, 4), "+int8", (2.4, 1.5, 1.5), BEST),
    "small-shortlist": Row("small", (1, 2, 4), "+int8+shortlist", (2.3, 1.5, 1.5), BEST),
    "base": Row("base", (1, 2, 6), "+int8", (3.0, 1.5, 1.4), BEST),
    "base-shortlist": Row("base", (1, 2, 6), "+int8+shortlist", (2.0, 1.4, 1.25), BEST),
    "small-float32": Row("small", (1, 2, 4), "", (1.4, 1.2, 1.1), BEST),
    "small-avx2": Row("small", (1, 2, 4), "+int8", (1.0, 1.0, 1.0), AVX2),
}


def bench(args: argparse.Namespace) -> None:
    """Measure what is missing, and make the table after each depth of a row."""
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{NAME}.jsonl"
    for name in args.rows:
        for depth in ROWS[name].depths:
            if args.depths and depth not in args.depths:
                continue
            if not is_measured(path, row=name, depth=depth):
                add_record(path, measured(args, name, depth), "row", "depth")
                write_table(args.out)


def measured(args: argparse.Namespace, name: str, depth: int) -> dict:
    """The record of one depth of a row."""
    row = ROWS[name]
    modes = dict.fromkeys(OURS, f"fast{row.words}") | {RIVAL: f"ct2{row.words}"}
    timing = Timing(modes, BATCHES, LINES[row.size], args.rounds, environment=row.environment)
    record = timed(args.models, row.size, [depth], timing)
    return {
        "schema": SCHEMA,
        "row": name,
        "depth": depth,
        "environment": row.environment,
        "systems": {
            decoder: {"mode": system["mode"], "speed": system["speed"]}
            for decoder, system in zip(modes, record["systems"], strict=True)
        },
        "warnings": record["warnings"],
        "command": command(NAME),
        **{key: record[key] for key in KEPT},
    }


def write_table(out: Path) -> None:
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
    order = {name: number for number, name in enumerate(ROWS)}
    records = sorted(records, key=lambda record: (order[record["row"]], record["depth"]))
    header = ["models", "layers", "decoder"]
    for batch in BATCHES:
        header += [f"batch {batch}", "goal"]
    rows = [cells for record in records for cells in ratios(record)]
    lines = ["# The engine beside CTranslate2", "", *markdown(header, rows, words=3), ""]
    header = ["models", "layers", "system", *(f"words/s, batch {batch}" for batch in BATCHES)]
    rows = [cells for record in records for cells in rates(record)]
    lines += [*markdown(header, rows, words=3), ""]
    return "\n".join([*lines, *(f"- {fact}" for fact in facts(records)), ""])


def ratios(record: dict) -> Iterator[list[str]]:
    """The rows of one record: for each of our decoders, times the rival's rate and the goals."""
    row, systems = ROWS[record["row"]], record["systems"]
    for decoder in OURS:
        cells = []
        pairs = zip(systems[decoder]["speed"], systems[RIVAL]["speed"], row.goals, strict=True)
        for ours, rival, goal in pairs:
            found = ratios_of(ours, rival)
            missed = median(found) < goal
            cells += [spread(found) + (" *" if missed else ""), f"{goal:g}"]
        yield [record["row"], layers(record), decoder, *cells]


def ratios_of(ours: dict, rival: dict) -> list[float]:
    """Of each repeat, in which both have their turn."""
    words = ours["words"] / rival["words"]
    turns = zip(ours["seconds"], rival["seconds"], strict=True)
    return [words * theirs / own for own, theirs in turns]


def rates(record: dict) -> Iterator[list[str]]:
    """The rows of one record: words a second of each system."""
    for name, system in record["systems"].items():
        found = map(rate, system["speed"])
        yield [record["row"], layers(record), f"{name} {system['mode']}", *found]


def layers(record: dict) -> str:
    """Of encoder and decoder."""
    return f"{SIZES[ROWS[record['row']].size].encoder_layers}-{record['depth']}"


def facts(records: Sequence[dict]) -> list[str]:
    """What the numbers mean and under what conditions they were taken."""
    rounds = len(records[0]["systems"][RIVAL]["speed"][0]["seconds"])
    sizes = "; ".join(
        f"{name}: {size.text}, targets of {size.length} subwords,"
        f" {', '.join(map(str, LINES[name]))} lines"
        for name, size in SIZES.items()
    )
    variables = " ".join(f"{name}={value}" for name, value in BEST.items())
    return [
        "First table: words a second of the engine as a multiple of those of CTranslate2 with a"
        f" Transformer of the same depth in the same mode, median (least-most) of {rounds} turns,"
        " in each of which all systems of a depth translate the same batches in one process. * The"
        " median is below the goal.",
        "Second table: words a second, median (least-most).",
        "The models are untrained and the length of their output is forced: speed alone."
        f" {sizes}. Beam 5.",
        f"`{variables}`, which makes CTranslate2 faster here; in the rows `small-avx2` both are"
        f" held to AVX2: `{' '.join(f'{name}={value}' for name, value in AVX2.items())}`.",
        conditions(records),
    ]


def names_of_rows(text: str) -> tuple[str, ...]:
    """An argument type: names of rows."""
    names = command_line.comma_list(text)
    for name in names:
        if name not in ROWS:
            raise argparse.ArgumentTypeError(f"{name} is not among {', '.join(ROWS)}")
    return names


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding.goals``."""
    parser = benchmark.flags("scripts.bench_decoding.goals", __doc__, OUT, rounds=7)
    parser.add_argument("--rows", type=names_of_rows, default=tuple(ROWS), help=", ".join(ROWS))
    parser.add_argument("--depths", type=command_line.int_list, help="of the rows; default: all")
    parser.add_argument(
        "--models", type=Path, default=MODELS, help=f"made where missing; default: {MODELS}"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding.goals``."""
    return benchmark.main(parse_args(argv), bench, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
