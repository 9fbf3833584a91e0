"""Time of a decoding step and bytes of its state, after 100 to 10,000 generated tokens.

``python -m scripts.studies.segments.decoding [--tokens 100 1000 10000] [--out results/segments]``

Beside fairseq's Transformer, whose cost grows with the text, stand the decoders with a bounded
memory, whose cost must not. Timed: the decoder's step, from the last token to features; not the
projection to the vocabulary, not the search. Every decoder generates from the start, but for
fairseq's Transformer, whose cache is filled with random keys and values of the length in question:
its cost does not depend on their values. Steps are timed in whole segments, so that moving a
segment into the memory counts with its share; the lengths take turns, so that what else the machine
does falls on all of them alike.

Each decoder is one line of ``decoding.jsonl``; ``decoding.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.files import write_bytes
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, read_records
from scripts.studies.segments.training import OUT, conditions

logger = logging.getLogger(__name__)

SCHEMA = 1
DIM, DEPTH, ROWS, SOURCE, SEGMENT = 256, 2, 4, 32, 32
ROUNDS = 9

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("transformer", {}),
    "transformer-xl": (
        DECODERS["transformer-xl"].architecture,
        {"memtx_segment_len": SEGMENT, "memtx_mem_len": SEGMENT},
    ),
    "compressive": (
        DECODERS["compressive"].architecture,
        {
            "memtx_segment_len": SEGMENT,
            "memtx_mem_len": SEGMENT,
            "memtx_cmem_len": SEGMENT,
            "memtx_compression_rate": 4,
        },
    ),
}


def bench(name: str, tokens: Sequence[int]) -> dict:
    """Measure one decoder after each number of tokens; the record."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    made = benchmark.provenance("bench_decoding_cost", threads=1)
    with torch.no_grad():
        measured = measure(name, sorted(tokens))
    return {
        "schema": SCHEMA,
        "decoder": name,
        "sizes": {"dim": DIM, "depth": DEPTH, "rows": ROWS, "source": SOURCE},
        "settings": SETTINGS[name][1],
        "after": measured,
        **made,
    }


def measure(name: str, tokens: Sequence[int]) -> list[dict]:
    """Seconds of a step and most bytes of the state after each number of tokens."""
    decoder, step = make_step(name)
    # The cache of fairseq's Transformer is filled, not decoded.
    done = max(tokens) if name == "transformer" else 0
    searches = [Search(step, tokens=count, done=min(done, count)) for count in tokens]
    for search in searches:
        search.advance()
    for number in range(ROUNDS):
        first = number % len(searches)
        for search in searches[first:] + searches[:first]:
            if name == "transformer":  # its cost is to be that after so many words, no more
                search.done = fill_transformer(step, search.state, search.tokens)
            search.time_segment(decoder)
    for search in searches:
        ms = 1e3 * median(search.seconds)
        logger.info("%s after %d: %.2f ms, %d bytes", name, search.tokens, ms, search.state_bytes)
    return [
        {"tokens": one.tokens, "seconds_per_token": one.seconds, "state_bytes": one.state_bytes}
        for one in searches
    ]


@dataclass
class Search:
    """Decoding that has come to ``tokens`` words.

    Attributes:
        step: decodes one position: a prefix ``(rows, t)`` and the state.
        tokens: how far.
        done: words decoded by now.
        state: of the search.
        seconds: of a step, the mean over each segment that was timed.
        state_bytes: the most that the state has held.
    """

    step: Callable[[Any, dict], None]
    tokens: int
    done: int = 0
    state: dict = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    state_bytes: int = 0

    def advance(self) -> None:
        """Decode ``tokens`` words."""
        import torch

        self.prefix = torch.randint(4, 100, (ROWS, self.tokens + ROUNDS * SEGMENT))
        while self.done < self.tokens:
            self._next()

    def time_segment(self, decoder: Any) -> None:
        """Decode a segment and note its time for each word."""
        total = 0.0
        for _ in range(SEGMENT):
            start = time.process_time()
            self._next()
            total += time.process_time() - start
            self.state_bytes = max(self.state_bytes, state_bytes(decoder, self.state))
        self.seconds.append(total / SEGMENT)

    def _next(self) -> None:
        self.step(self.prefix[:, : self.done + 1], self.state)
        self.done += 1


def make_step(name: str) -> tuple[Any, Callable[[Any, dict], None]]:
    """A decoder in evaluation mode, and its step on a prefix ``(rows, t)`` with a state."""
    import torch

    from scripts.shared.contenders import Case, build

    case = Case("decoder", DEPTH, DIM, ROWS, SOURCE, encoder_layers=1)
    arch, settings = SETTINGS[name]
    model: Any = build(case, arch, **settings)
    decoder = model.decoder.eval()
    encoder_out = {"encoder_out": [torch.randn(SOURCE, ROWS, DIM)], "encoder_padding_mask": []}

    def step(prefix: torch.Tensor, state: dict) -> None:
        decoder(prefix, encoder_out, state, features_only=True)

    return decoder, step


def fill_transformer(step: Callable, state: dict, length: int) -> int:
    """Grow the self-attention caches of fairseq's Transformer to ``length`` positions."""
    import torch

    state.clear()
    step(torch.full((ROWS, 1), 4), state)
    for cache in state.values():
        keys = cache.get("prev_key")
        if keys is not None and keys.size(2) == 1:
            shape = (keys.size(0), keys.size(1), length, keys.size(3))
            cache["prev_key"], cache["prev_value"] = torch.randn(shape), torch.randn(shape)
            cache["prev_key_padding_mask"] = None
    return length


def state_bytes(decoder: Any, state: dict) -> int:
    """Bytes of the state of a search, the source's keys and values included."""
    if hasattr(decoder, "incremental_state_bytes"):
        return decoder.incremental_state_bytes(state)
    tensors = [x for cache in state.values() for x in cache.values() if x is not None]
    return sum(x.numel() * x.element_size() for x in tensors)


def table(found: Sequence[dict]) -> str:
    """One row a decoder, time and bytes after each number of tokens."""
    tokens = [one["tokens"] for one in found[0]["after"]]
    lines = ["# Cost of a decoding step", ""]
    head = [f"after {n:,}: ms | KiB" for n in tokens]
    lines += ["| decoder | " + " | ".join(head) + " |", "|---|" + "---:|---:|" * len(tokens)]
    for record in found:
        cells = [
            f"{milliseconds(one['seconds_per_token'])} | {one['state_bytes'] / 1024:.0f}"
            for one in record["after"]
        ]
        lines.append(f"| {record['decoder']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Median (least-most) over segments, all lengths in turns."
        f" {ROWS} rows, source of {SOURCE} positions; segments and memories of {SEGMENT}.",
    ]
    return "\n".join([*lines, conditions(found[-1]), ""])


def milliseconds(seconds: Sequence[float]) -> str:
    """Median (least-most)."""
    middle, least, most = (1e3 * find(seconds) for find in (median, min, max))
    return f"{middle:.2f} ({least:.2f}-{most:.2f})"


def run(out: Path, tokens: Sequence[int]) -> None:
    """Bench all decoders, then make the table."""
    for name in SETTINGS:
        add_record(out / "decoding.jsonl", bench(name, tokens), "decoder")
    write_table(out)


def write_table(out: Path) -> None:
    """Make ``decoding.md`` from ``decoding.jsonl``."""
    write_bytes(out / "decoding.md", table(read_records(out / "decoding.jsonl")).encode())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.segments.decoding``."""
    parser = argparse.ArgumentParser(
        prog="scripts.studies.segments.decoding", description=(__doc__ or "").split("\n")[0]
    )
    number = command_line.positive_int
    parser.add_argument(
        "--tokens", type=number, nargs="+", default=[100, 1000, 10_000], help="generated before"
    )
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder; default: {OUT}")
    parser.add_argument(
        "--table-only", action="store_true", help="make the table from the records there are"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.segments.decoding``."""
    args = parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    return command_line.run(
        lambda: write_table(args.out) if args.table_only else run(args.out, args.tokens)
    )


if __name__ == "__main__":
    raise SystemExit(main())
