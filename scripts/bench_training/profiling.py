"""Where the time of training the Feedback decoder goes, by kind of work, beside fairseq's.

``python -m scripts.bench_training.profiling [--layers 1,2,6] [--batch 16 --length 128]``

The step is that of ``bench_training``: a decoder's features forward and backward. Its seconds are
measured without the profiler, in turns. The shares of the kinds of work are those of the time that
torch's profiler counts within their operations, medians of several profiles; what is left passes
between operations: Python, the making of views, the dispatch. The time of the calls alone is that
of a step with as many operations and next to nothing to compute: one row of 64 numbers. By how much
the profiler slows that step down is also what it adds to the other, and is taken off. Speeds count
two operations for each multiplication of a matrix product.

Each depth is one line of ``profile.jsonl``; ``profile.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.files import write_bytes
from scripts.bench_training.run import BASELINE, OURS, OUT, make_case
from scripts.shared import benchmark
from scripts.shared.benchmark import Step, add_record, measure, read_records

if TYPE_CHECKING:
    from scripts.shared.contenders import Case

logger = logging.getLogger(__name__)

SCHEMA = 1
DIM = 512
PROFILES = 3

MANY, ONE, ATTENTION = "products, many positions", "products, one position", "attention"
PACKING, ELEMENTWISE = "packing of weights", "elementwise, norms, copies"
BETWEEN = "between operations"
KINDS = (MANY, ONE, ATTENTION, PACKING, ELEMENTWISE)

PRODUCTS = {"aten::mm", "aten::addmm", "aten::addmm_", "mkldnn::_linear_pointwise"}
BATCHED_PRODUCTS = {"aten::bmm", "aten::baddbmm", "aten::baddbmm_"}
#: Take no time but that of their call.
VIEWS = {
    "alias", "as_strided", "chunk", "detach", "empty", "empty_like", "empty_strided", "expand",
    "expand_as", "flatten", "lift_fresh", "narrow", "new_empty", "permute", "reshape", "resize_",
    "resolve_conj", "result_type", "select", "slice", "split", "squeeze", "t", "transpose",
    "unbind", "unflatten", "unsqueeze", "_unsafe_view", "view", "view_as",
}  # fmt: skip


def kind_of(name: str, shapes: Sequence[Sequence[int]], rows: int) -> str:
    """The kind of work of an operation on tensors of these shapes; a position has `rows` rows."""
    library, _, short = name.partition("::")
    if library not in ("aten", "mkldnn") or short in VIEWS:
        return BETWEEN
    if name in PRODUCTS:
        inputs, _ = product_shapes(name, shapes)
        return ATTENTION if inputs[0] == 1 < rows else ONE if inputs[0] <= rows else MANY
    if name in BATCHED_PRODUCTS or "softmax" in short or "scaled_dot_product" in short:
        return ATTENTION
    return PACKING if "reorder" in short else ELEMENTWISE


def product_shapes(
    name: str, shapes: Sequence[Sequence[int]]
) -> tuple[Sequence[int], Sequence[int]]:
    """The two factors of a matrix product, of which the second may be transposed."""
    if "addmm" in name or "baddbmm" in name:
        return shapes[1], shapes[2]
    # The packed product has a summand between its factors where it adds.
    fused = name == "mkldnn::_linear_pointwise" and len(shapes[2]) == 2
    return shapes[0], shapes[2 if fused else 1]


def operations(name: str, shapes: Sequence[Sequence[int]]) -> int:
    """Of a matrix product, two for each multiplication; 0 for anything else."""
    if name not in PRODUCTS | BATCHED_PRODUCTS:
        return 0
    first, second = product_shapes(name, shapes)
    return 2 * math.prod(first) * (math.prod(second[-2:]) // first[-1])


class Profile(NamedTuple):
    """One step under the profiler.

    Attributes:
        seconds: of the processor.
        kinds: seconds, calls and operations of each kind of work.
    """

    seconds: float
    kinds: dict[str, dict[str, float]]


def profile(step: Step, rows: int) -> Profile:
    """Run a step under the profiler."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    with torch_profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        started = time.process_time(), time.perf_counter()
        step()
        cpu, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    found = {kind: {"seconds": 0.0, "calls": 0, "operations": 0} for kind in KINDS}
    for event in profiler.key_averages(group_by_input_shape=True):
        kind = kind_of(event.key, event.input_shapes, rows)
        if kind in found:
            found[kind]["seconds"] += event.self_cpu_time_total * 1e-6 * cpu / wall
            found[kind]["calls"] += event.count
            done = operations(event.key, event.input_shapes)
            found[kind]["operations"] += event.count * done
    return Profile(cpu, found)


def profile_often(step: Step, rows: int) -> Profile:
    """The medians of several profiles."""
    found = [profile(step, rows) for _ in range(PROFILES)]
    kinds = {
        kind: {
            name: median(one.kinds[kind][name] for one in found) for name in found[0].kinds[kind]
        }
        for kind in KINDS
    }
    return Profile(median(one.seconds for one in found), kinds)


def bench(case: Case, rounds: int, threads: int) -> dict:
    """Time and profile our decoder and fairseq's; the record."""
    import torch

    from fairseq_memtx.training.host_memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(threads)
    made = benchmark.provenance("profile_training", threads)
    steps, empty = steps_of(case), steps_of(replace(case, dim=64, batch=1))
    everything = steps | {f"{name}, empty": step for name, step in empty.items()}
    measured = measure(everything, rounds, benchmark.clock(threads))
    for name, step in steps.items():
        calls = measured.pop(f"{name}, empty")["seconds"]
        overhead = profile_often(empty[name], rows=1).seconds - median(calls)
        found = profile_often(step, case.batch)
        scale = median(measured[name]["seconds"]) / (found.seconds - overhead)
        for one in found.kinds.values():
            one["seconds"] *= scale
        measured[name] |= {"kinds": found.kinds, "seconds_of_calls": calls}
        logger.info("%s: %.3f s", name, median(measured[name]["seconds"]))
    return {"schema": SCHEMA, "case": asdict(case), "contenders": measured, **made}


def steps_of(case: Case) -> dict[str, Step]:
    """The steps of the two decoders."""
    from scripts.shared.contenders import build, decoder_step, our_model

    models = {OURS: our_model(case, OURS), BASELINE: build(case, "transformer")}
    return {name: decoder_step(case, model.decoder) for name, model in models.items()}


def table(found: Sequence[dict]) -> str:
    """The page: a section for each case, what stands out in it, and what it rests on."""
    lines = ["# Where the time of training goes", "", *EXPLANATION, ""]
    for record in found:
        case = record["case"]
        layers = f"{case['depth']} layer{'s' if case['depth'] > 1 else ''}"
        shape = f"dimension {case['dim']}, B x T {case['batch']} x {case['length']}"
        lines += [f"## {layers}, {shape}", "", *section(record), "", *findings(record), ""]
        lines += [f"{benchmark.conditions(record)}.", ""]
    return "\n".join(lines)


EXPLANATION = (
    "Seconds of a decoder forward and backward by kind of work; GFLOP/s where it is products of",
    "matrices. Products of one position have as many rows as the batch has sentences; those of",
    "many positions are the weights' gradients and what is hoisted out of the loop. Between",
    "operations pass Python, views and dispatch. How this is measured says",
    "`scripts/profile_training.py`.",
)

HEADER = (
    "work", "manual: s", "share", "calls", "GFLOP/s", "fairseq: s", "share", "calls", "GFLOP/s",
    "difference: s",
)  # fmt: skip


def section(record: dict) -> list[str]:
    """One row for each kind of work, and the sum."""
    ours, theirs = (record["contenders"][name] for name in (OURS, BASELINE))
    rows = []
    for kind in (*KINDS, BETWEEN):
        difference = seconds_of(ours, kind) - seconds_of(theirs, kind)
        rows.append([kind, *cells(ours, kind), *cells(theirs, kind), f"{difference:+.3f}"])
    total, other = (median(one["seconds"]) for one in (ours, theirs))
    sums = [f"{total:.3f}", "100 %", "", "", f"{other:.3f}", "100 %", "", ""]
    return benchmark.markdown(HEADER, [*rows, ["step", *sums, f"{total - other:+.3f}"]])


def seconds_of(one: dict, kind: str) -> float:
    """Of a kind of work; between operations passes what is left of the step."""
    if kind != BETWEEN:
        return one["kinds"][kind]["seconds"]
    return median(one["seconds"]) - sum(found["seconds"] for found in one["kinds"].values())


def cells(one: dict, kind: str) -> Iterable[str]:
    """Seconds, share of the step, calls and speed of a kind of work."""
    seconds, found = seconds_of(one, kind), one["kinds"].get(kind, {})
    yield f"{seconds:.3f}"
    yield f"{100 * seconds / median(one['seconds']):.0f} %"
    yield f"{found['calls']:,.0f}" if found else ""
    speed = speed_of(one, kind)
    yield "" if speed is None else f"{speed:.0f}"


def speed_of(one: dict, kind: str) -> float | None:
    """GFLOP/s of a kind of work, None where it is no products."""
    found = one["kinds"].get(kind, {})
    if not found.get("operations") or kind == BETWEEN:
        return None
    return found["operations"] / found["seconds"] / 1e9


#: Why a part of the work takes longer position by position.
REASONS = {
    "products": "at {rows} rows ({one:.0f} GFLOP/s; fairseq's {all:.0f}) a product waits for its"
    " weights to be read.",
    ATTENTION: "with one query at a time, each position reads all keys and values of the memory"
    " and of the source anew, forward and back: it waits for memory ({attention:.0f} GFLOP/s).",
    ELEMENTWISE: "sums, norms and copies of a few rows are many small operations.",
    BETWEEN: "each position passes through Python and torch's dispatch on its own.",
}


def findings(record: dict) -> list[str]:
    """What stands in the way of a Transformer's time, in numbers of the record."""
    ours, theirs = (record["contenders"][name] for name in (OURS, BASELINE))
    total, other = (median(one["seconds"]) for one in (ours, theirs))
    calls, fewer = (median(one["seconds_of_calls"]) for one in (ours, theirs))
    gaps = {
        part: sum(seconds_of(ours, kind) - seconds_of(theirs, kind) for kind in kinds)
        for part, kinds in (
            ("products", (MANY, ONE, PACKING)),
            *((kind, (kind,)) for kind in (ATTENTION, ELEMENTWISE, BETWEEN)),
        )
    }
    largest = max(gaps, key=lambda part: gaps[part])
    reason = REASONS[largest].format(
        rows=record["case"]["batch"],
        one=speed_of(ours, ONE) or 0,
        all=speed_of(theirs, MANY) or 0,
        attention=speed_of(ours, ATTENTION) or 0,
    )
    told = ", ".join(f"{part} {gap:+.3f}" for part, gap in gaps.items())
    return [
        f"The step takes {total / other:.2f} of fairseq's time; the difference in seconds: {told}."
        f" Most of it is {largest}: {reason} The calls alone, with next to nothing to compute, take"
        f" {calls:.3f} s, fairseq's {fewer:.3f}.",
    ]


def run(args: argparse.Namespace) -> None:
    """Profile all depths, then make the page."""
    for depth in args.layers:
        case = make_case("decoder", depth, DIM, args.batch, args.length)
        logger.info("%s", case)
        record = bench(case, args.rounds, args.threads)
        add_record(args.out / "profile.jsonl", record, "case", "threads")
    write_table(args.out)


def write_table(out: Path) -> None:
    """Make ``profile.md`` from ``profile.jsonl``."""
    write_bytes(out / "profile.md", table(read_records(out / "profile.jsonl")).encode())
    logger.info("wrote %s", out / "profile.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_training.profiling``."""
    number = command_line.positive_int
    parser = benchmark.flags("scripts.bench_training.profiling", __doc__, OUT, rounds=5)
    parser.add_argument(
        "--layers", type=command_line.int_list, default=(1, 2, 6), help="default: 1,2,6"
    )
    parser.add_argument("--batch", type=number, default=16, help="sentences; default: 16")
    parser.add_argument("--length", type=number, default=128, help="positions; default: 128")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_training.profiling``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
