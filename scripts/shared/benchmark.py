"""What all benchmarks of training share: turns, clocks, memory, records, flags."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from fairseq_memtx.ground.versions import versions
from scripts.shared import provenance as origins
from scripts.shared.turns import turns

T = TypeVar("T")

Step = Callable[[], None]


def clock(threads: int) -> Callable[[], float]:
    """Seconds of the processor, which a busy machine disturbs less, where it has one thread."""
    return time.process_time if threads == 1 else time.perf_counter


def warm_peak_bytes(step: Step) -> int | None:
    """`peak_bytes` of a step that follows another."""
    step()
    return peak_bytes(step)


def measure(
    steps: dict[str, Step],
    rounds: int,
    clock: Callable[[], float],
    weigh: Callable[[Step], int | None] = warm_peak_bytes,
) -> dict[str, dict]:
    """Seconds of each round and peak memory in bytes (None: unknown), by contender.

    The contenders take turns in an order that rotates, after all have been weighed.
    """
    peaks = {name: weigh(step) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for name in turns(list(steps), rounds):
        start = clock()
        steps[name]()
        seconds[name].append(round(clock() - start, 4))
    return {name: {"seconds": seconds[name], "peak_bytes": peaks[name]} for name in steps}


def peak_bytes(step: Step) -> int | None:
    """By how much a step raises the process's resident memory at its peak; None off Linux."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
        before = memory_line("VmRSS")
        step()
        return memory_line("VmHWM") - before
    except (OSError, AttributeError):
        step()
        return None


def memory_line(name: str, process: int | str = "self") -> int:
    """A line of a process's status, in bytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise OSError(f"{name} is not in /proc/{process}/status")
    return 1024 * int(found[1])


def provenance(script: str, threads: int) -> dict[str, Any]:
    """What a record says of its making; to be asked for before anything is measured."""
    commit, dirty = origins.git_state()
    return {
        "threads": threads,
        "clock": "processor" if threads == 1 else "wall",
        "command": " ".join([f"python -m scripts.{script}", *sys.argv[1:]]),
        "versions": versions(),
        "hardware": origins.hardware("cpu"),
        "load": round(os.getloadavg()[0], 1),
        "commit": commit,
        "dirty": dirty,
    }


def conditions(record: dict) -> str:
    """What a record's numbers rest on, in words."""
    hardware = record["hardware"]
    load = f" (load {record['load']} at the start)" if "load" in record else ""
    return (
        f"{record['threads']} thread(s), {record['clock']} time, float32, torch"
        f" {record['versions'].get('torch', '?')}, {hardware['cpu']}, {hardware['cores']} cores"
        f"{load}, commit {record['commit'][:12]}{' with changes' if record['dirty'] else ''}"
    )


def made_of(path: Path, records: Sequence[dict], make: Callable[[Sequence[dict]], T]) -> T:
    """What `make` makes of a file's records: a page, or a page and a plot.

    Raises:
        UserError: where they lack what it is made of.
    """
    try:
        return make(records)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"the records `{path}` are damaged ({problem})") from error


def write_page(out: Path, name: str, make: Callable[[Sequence[dict]], str]) -> None:
    """Write `NAME.md` into a folder, made from the records of its `NAME.jsonl`.

    Raises:
        UserError: if there are none, or they are damaged.
    """
    path = out / f"{name}.jsonl"
    write_bytes(out / f"{name}.md", made_of(path, read_records(path), make).encode())


def read_records(path: Path) -> list[dict]:
    """The records of a file.

    Raises:
        UserError: if there is none, or a line is damaged.
    """
    if not path.exists():
        raise UserError(f"there are no records `{path}`: run the benchmark first")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line:
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"line {number} of `{path}` is not JSON: {error}") from None
    if not found:
        raise UserError(f"`{path}` holds no records: run the benchmark first")
    return found


def add_record(path: Path, record: dict, *keys: str) -> None:
    """Write a record in the place of an older one with the same values of `keys`, or at the end."""
    found = read_records(path) if path.exists() else []
    same = [i for i, old in enumerate(found) if all(old.get(key) == record[key] for key in keys)]
    if same:
        found[same[0]] = record
    else:
        found.append(record)
    write_bytes(path, "".join(json.dumps(one) + "\n" for one in found).encode())


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """The lines of a table, all but the first `words` columns aligned to the right."""
    aligned = ["---"] * words + ["---:"] * (len(header) - words)
    return ["| " + " | ".join(row) + " |" for row in (header, aligned, *rows)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (least-most)."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def flags(name: str, doc: str | None, out: Path, rounds: int) -> argparse.ArgumentParser:
    """A parser with the flags that all have.

    Args:
        name: of the command, as in `python -m NAME`.
        doc: of its module, whose first line is told.
        out: the usual folder of records and table.
        rounds: the usual number of rounds.
    """
    parser = argparse.ArgumentParser(prog=name, description=(doc or "").split("\n")[0])
    number = command_line.positive_int
    parser.add_argument("--rounds", type=number, default=rounds, help=f"default: {rounds}")
    parser.add_argument("--threads", type=number, default=1, help="default: 1")
    parser.add_argument("--out", type=Path, default=out, help=f"folder; default: {out}")
    parser.add_argument(
        "--table-only", action="store_true", help="make the table from the records there are"
    )
    return parser


def main(
    args: argparse.Namespace,
    bench: Callable[[argparse.Namespace], None],
    write_table: Callable[[Path], None],
) -> int:
    """Bench, or make the table from the records there are; the exit status."""
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch is imported
    return command_line.run(lambda: write_table(args.out) if args.table_only else bench(args))
