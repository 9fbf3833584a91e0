"""The Feedback decoder and the Transformer in the native engine, by the length of the target.

``python -m scripts.bench_decoding.lengths [--tokens 30,100,500] [--models runs/untrained]``

The Feedback decoder has one memory for all of its layers, where the Transformer has one for each:
the longer the target and the more layers, the more that saves. Untrained models of the size small
write targets of forced length, in eight bits, all systems in turns in one process.

Each length is one line of ``lengths.jsonl``; what is there already of the same commit is not
measured again. ``lengths.md`` and ``lengths.{png,svg}`` are made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx.ground import command_line, figures
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
from scripts.bench_decoding.goals import MODELS, OURS, OUT, ratios_of
from scripts.shared import benchmark, plots
from scripts.shared.benchmark import add_record, markdown, read_records, spread
from scripts.shared.tables import rate, words_per_second

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

SCHEMA = 1
NAME, SIZE, MODE = "lengths", "small", "fast+int8"
DEPTHS, TOKENS = (1, 2, 4, 6), (30, 100, 500)
BATCHES, LINES = (1, 8), (4, 8)
STYLES = dict(zip(DEPTHS, (":", "-.", "--", "-"), strict=True))


def bench(args: argparse.Namespace) -> None:
    """Measure the lengths that are missing, and make the page after each."""
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{NAME}.jsonl"
    for tokens in args.tokens:
        if not is_measured(path, tokens=tokens):
            add_record(path, measured(args, tokens), "tokens")
            write_page(args.out)


def measured(args: argparse.Namespace, tokens: int) -> dict:
    """The record of one length."""
    timing = Timing(dict.fromkeys(OURS, MODE), BATCHES, LINES, args.rounds, tokens)
    record = timed(args.models, SIZE, DEPTHS, timing)
    kept = ("architecture", "depth", "speed", "past_bytes")
    return {
        "schema": SCHEMA,
        "tokens": tokens,
        "systems": [{key: system[key] for key in kept} for system in record["systems"]],
        "warnings": record["warnings"],
        "command": command(NAME),
        **{key: record[key] for key in KEPT},
    }


def write_page(out: Path) -> None:
    """Make the page and the plot from the records there are.

    Raises:
        UserError: if there are none, or they are damaged.
    """
    path = out / f"{NAME}.jsonl"
    records = sorted(read_records(path), key=lambda record: record.get("tokens", 0))
    made, drawn = benchmark.made_of(path, records, lambda found: (page(found), figure(found)))
    write_bytes(out / f"{NAME}.md", made.encode())
    figures.save(drawn, out / NAME)


def page(records: Sequence[dict]) -> str:
    """The whole page."""
    header = ["tokens", "layers"]
    for batch in BATCHES:
        header += [f"{decoder}: words/s, batch {batch}" for decoder in OURS]
        header += [f"ratio, batch {batch}"]
    header += [f"{decoder}: MiB" for decoder in OURS]
    rows = [cells for record in records for cells in rows_of(record)]
    lines = ["# Feedback decoder and Transformer by length", ""]
    lines += [f"![words a second by length]({NAME}.png)", "", *markdown(header, rows, words=0), ""]
    return "\n".join([*lines, *(f"- {fact}" for fact in facts(records)), ""])


def rows_of(record: dict) -> Iterator[list[str]]:
    """The rows of one length, one for each depth."""
    for depth in DEPTHS:
        ours, other = (system(record, decoder, depth) for decoder in OURS)
        cells = [f"{record['tokens']}", f"{SIZES[SIZE].encoder_layers}-{depth}"]
        for index in range(len(BATCHES)):
            pair = ours["speed"][index], other["speed"][index]
            cells += map(rate, pair)
            cells += [spread(ratios_of(*pair))]
        yield [*cells, *(f"{one['past_bytes'] / 2**20:.2f}" for one in (ours, other))]


def system(record: dict, architecture: str, depth: int) -> dict:
    """What was measured of a decoder."""
    wanted = architecture, depth
    return next(s for s in record["systems"] if (s["architecture"], s["depth"]) == wanted)


def figure(records: Sequence[dict]) -> Figure:
    """Words a second against the length, a panel for each batch size."""
    drawn, panels = figures.new_figure(len(BATCHES))
    for index, panel in enumerate(panels):
        for decoder in OURS:
            for depth in DEPTHS:
                panel.plot(
                    [record["tokens"] for record in records],
                    [
                        words_per_second(system(record, decoder, depth)["speed"][index])[0]
                        for record in records
                    ],
                    label=f"{decoder}, {plots.layers(depth)}",
                    linestyle=STYLES[depth],
                    **plots.look(decoder),
                )
        tokens = [record["tokens"] for record in records]
        panel.set_xscale("log")
        panel.set_xticks(tokens, [f"{count:,}" for count in tokens])
        panel.set_xticks([], minor=True)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("target tokens (log scale)")
        panel.set_ylabel("words a second")
        panel.set_title(f"batch {BATCHES[index]}")
        panel.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    return drawn


def facts(records: Sequence[dict]) -> list[str]:
    """What the numbers mean and under what conditions they were taken."""
    turns = len(records[0]["systems"][0]["speed"][0]["seconds"])
    lines = ", ".join(f"batch {b}: {n} lines" for b, n in zip(BATCHES, LINES, strict=True))
    return [
        f"words/s: median (least-most) of {turns} turns in one process; {lines}. ratio: the"
        " Feedback decoder's words a second as a multiple of the Transformer's, median (least-most)"
        " over the turns. MiB: memory of the engine for keys and values of the targets' past, for"
        f" {max(BATCHES)} sentences of beam 5 at the end of the search; not the sources'.",
        f"Untrained models, {SIZES[SIZE].text}, mode {MODE}; the length of all targets is forced.",
        conditions(records),
    ]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding.lengths``."""
    parser = benchmark.flags("scripts.bench_decoding.lengths", __doc__, OUT, rounds=7)
    add = parser.add_argument
    told = ",".join(map(str, TOKENS))
    add("--tokens", type=command_line.int_list, default=TOKENS, help=f"default: {told}")
    add("--models", type=Path, default=MODELS, help=f"made where missing; default: {MODELS}")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding.lengths``."""
    return benchmark.main(parse_args(argv), bench, write_page)


if __name__ == "__main__":
    raise SystemExit(main())
