"""Time of a decoding step and bytes of its state, after 100 to 10,000 generated tokens.

``python -m scripts.bench_decoding_cost [--tokens 100 1000 10000] [--out results/segments]``

Beside fairseq's Transformer, whose cost grows with the text, stand the decoders with a bounded
memory, whose cost must not. Timed: the decoder's step, from the last token to features; not the
projection to the vocabulary, not the search. Every decoder generates from the start, but for
fairseq's Transformer, whose cache is filled with random keys and values of the length in question:
its cost does not depend on their values. Steps are timed in whole segments, so that moving a
segment into the memory counts with its share.

Each decoder is one line of ``decoding.jsonl``; ``decoding.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from data_prep.files import write_bytes
from scripts import benchmark, command_line
from scripts.bench_segments import OUT, conditions
from scripts.benchmark import add_record, read_records

logger = logging.getLogger(__name__)

SCHEMA = 1
DIM, DEPTH, ROWS, SOURCE, SEGMENT = 256, 2, 4, 32, 32
TIMED = 3 * SEGMENT

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("transformer", {}),
    "transformer-xl": (
        "memtx_transformer_xl",
        {"memtx_segment_len": SEGMENT, "memtx_mem_len": SEGMENT},
    ),
    "compressive": (
        "memtx_compressive",
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
    import torch

    decoder, step, state = make_step(name)
    prefix = torch.randint(4, 100, (ROWS, tokens[-1] + TIMED))
    done, measured = 0, []
    for after in tokens:
        if name == "transformer":
            state.clear()
            done = fill_transformer(step, state, after)
        while done < after:
            step(prefix[:, : done + 1])
            done += 1
        seconds, size = [], 0
        for _ in range(TIMED):
            start = time.process_time()
            step(prefix[:, : done + 1])
            seconds.append(time.process_time() - start)
            done += 1
            size = max(size, state_bytes(decoder, state))
        segments = [sum(seconds[i : i + SEGMENT]) / SEGMENT for i in range(0, TIMED, SEGMENT)]
        logger.info("%s after %d: %.2f ms, %d bytes", name, after, 1e3 * median(segments), size)
        measured.append({"tokens": after, "seconds_per_token": segments, "state_bytes": size})
    return measured


def make_step(name: str) -> tuple[Any, Callable, dict]:
    """A decoder in evaluation mode, its step on a prefix ``(rows, t)``, and the step's state."""
    import torch

    from scripts.bench_contenders import Case, build

    case = Case("decoder", DEPTH, DIM, ROWS, SOURCE, encoder_layers=1)
    arch, settings = SETTINGS[name]
    model: Any = build(case, arch, **settings)
    decoder = model.decoder.eval()
    encoder_out = {"encoder_out": [torch.randn(SOURCE, ROWS, DIM)], "encoder_padding_mask": []}
    state: dict = {}

    def step(prefix: torch.Tensor) -> None:
        decoder(prefix, encoder_out, state, features_only=True)

    return decoder, step, state


def fill_transformer(step: Callable, state: dict, length: int) -> int:
    """Grow the self-attention caches of fairseq's Transformer to ``length`` positions."""
    import torch

    step(torch.full((ROWS, 1), 4))
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
            f"{1e3 * median(one['seconds_per_token']):.2f} | {one['state_bytes'] / 1024:.0f}"
            for one in record["after"]
        ]
        lines.append(f"| {record['decoder']} | " + " | ".join(cells) + " |")
    lines += ["", f"{ROWS} rows, source of {SOURCE} positions; segments and memories of {SEGMENT}."]
    return "\n".join([*lines, conditions(found[-1]), ""])


def run(out: Path, tokens: Sequence[int]) -> None:
    """Bench all decoders, then make the table."""
    for name in SETTINGS:
        add_record(out / "decoding.jsonl", bench(name, tokens), "decoder")
    write_table(out)


def write_table(out: Path) -> None:
    """Make ``decoding.md`` from ``decoding.jsonl``."""
    write_bytes(out / "decoding.md", table(read_records(out / "decoding.jsonl")).encode())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding_cost``."""
    parser = argparse.ArgumentParser(
        prog="scripts.bench_decoding_cost", description=(__doc__ or "").split("\n")[0]
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
    """Entry of ``python -m scripts.bench_decoding_cost``."""
    args = parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    return command_line.run(
        lambda: write_table(args.out) if args.table_only else run(args.out, args.tokens)
    )


if __name__ == "__main__":
    raise SystemExit(main())
