"""What survives the faults that the tests throw: all of `tests/reliability`, counted.

``python -m scripts.studies.reliability [--only interrupted,soak] [--out results/reliability]``

Each group of tests runs in a pytest of its own, the slow ones too. A test may make many tries (one
interrupted training, one damaged file, one failing system call each) and tells how many lost
nothing; another counts as one. Some throw the same faults at fairseq as it was installed, whose
counts stand beside. A failed test is named in the record and in the table.

A group is one line of ``records.jsonl``, written when it ends; ``table.md`` is made from the
records alone (``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from scripts.shared import benchmark, publishing
from scripts.shared.benchmark import add_record, read_records
from scripts.shared.provenance import CHECKOUT

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/reliability")
FOLDER = Path("tests/reliability")
TRAINING = "tests/fairseq_memtx/training"

#: What is thrown, by group, and the test files that do so, with pytest's flags that choose among
#: their tests. A file of the folder that stands nowhere is a group of its own.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "interrupted": (
        "trainings interrupted by signals, SIGKILL or half a save; they end as uninterrupted ones",
        (f"{FOLDER}/test_interrupted.py", f"{TRAINING}/test_bitwise_resuming.py"),
    ),
    "signals": (
        "other commands ended by a signal; what is finished stays, and they go on",
        (f"{FOLDER}/test_signals.py",),
    ),
    "saving": (
        "each system call of a save fails or is the last; no file is half-written",
        (f"{FOLDER}/test_saving_faults.py", f"{TRAINING}/test_whole_checkpoints.py"),
    ),
    "flips": (
        "single bits of checkpoints flipped; refused, or the same weights",
        (f"{FOLDER}/test_bit_flips.py",),
    ),
    "damaged": (
        "damaged dictionaries, data, subword models, archives through every command; one line",
        (f"{FOLDER}/test_damaged_files.py", f"{FOLDER}/test_archives.py"),
    ),
    "hostile": (
        "hostile checkpoints through every command; one line, nothing is run",
        (f"{FOLDER}/test_hostile_checkpoints.py", f"{FOLDER}/test_hostile_commands.py"),
    ),
    "numbers": (
        "NaN, infinity and overflow in weights, memory, logits, gradients; stopped",
        (f"{FOLDER}/test_numbers.py",),
    ),
    "text": (
        "odd text and files through preparing, translating and scoring; line by line",
        tuple(f"{FOLDER}/test_{name}.py" for name in (
            "text", "preparing", "interactive", "hypotheses", "translations", "fuzz",
        )),
    ),
    "together": (
        "several commands with one output or folder; one at a time, whole files",
        (f"{FOLDER}/test_together.py", f"{FOLDER}/test_outputs.py",
         f"{TRAINING}/test_one_at_a_time.py"),
    ),
    "ranks": (
        "two ranks that log, stop and wait",
        ("tests/fairseq_memtx/criterions/test_logged_values.py", f"{TRAINING}/test_stopping.py"),
    ),
    "data": (
        "a model with other dictionaries, subwords or text steps than its own; refused in one line",
        (f"{FOLDER}/test_right_data.py",),
    ),
    "batches": (
        "lines alone and among others; the same translations",
        (f"{FOLDER}/test_sharing_a_batch.py",),
    ),
    **{
        f"flags-{decoder}": (
            f"fairseq's flags as commands, {decoder}; they do what they say or are refused",
            (f"{FOLDER}/test_fairseq_flags.py", "-k", tests),
        )
        for decoder, tests in {
            "transformer": "transformer and not transformer-xl",
            "feedback": "feedback or not does_what_it_says",
            "transformer-xl": "transformer-xl",
            "compressive": "compressive",
        }.items()
    },
    "soak": (
        "thousands of lines and calls; memory and file descriptors stay",
        (f"{FOLDER}/test_soak.py",),
    ),
}  # fmt: skip


def groups() -> dict[str, tuple[str, tuple[str, ...]]]:
    """`GROUPS`, and one for each other test file of the folder, named as the file is."""
    listed = {file for _, files in GROUPS.values() for file in files}
    found = sorted(
        str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / FOLDER).glob("test_*.py")
    )
    others = [file for file in found if file not in listed]
    return GROUPS | {Path(file).stem.removeprefix("test_"): (file, (file,)) for file in others}


COUNTS = ("tried", "survived", "stock tried", "stock survived")


def counts_of(report: Path) -> dict[str, Any]:
    """What pytest's report in XML tells: the counts, the tests that ran, were skipped, failed.

    A test that fails although all of its tries survived counts as one more.
    """
    counts: dict[str, Any] = dict.fromkeys(COUNTS, 0) | {"tests": 0, "skipped": 0, "failed": []}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        if case.find("skipped") is not None:
            counts["skipped"] += 1
            continue
        told = {item.get("name"): int(item.get("value") or 0) for item in case.iter("property")}
        bad = case.find("failure") is not None or case.find("error") is not None
        if not told.keys() & set(COUNTS):
            told = {"tried": 1, "survived": int(not bad)}
        elif bad and told.get("tried") == told.get("survived"):
            told["tried"] = told.get("tried", 0) + 1
        for name in COUNTS:
            counts[name] += told.get(name, 0)
        counts["tests"] += 1
        if bad:
            counts["failed"].append(f"{case.get('classname')}::{case.get('name')}")
    return counts


def run_group(name: str, files: Sequence[str], more: int, seed: int) -> dict[str, Any]:
    """Run a group's tests, the slow ones too; its record without its origin.

    Raises:
        UserError: where pytest itself fails.
    """
    environment = {
        **os.environ,
        "MEMTX_FUZZ_SEED": str(seed),
        "MEMTX_FUZZ_SECONDS": str(20 * more),
        "MEMTX_RELIABILITY_MORE": str(more),
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not gpu", "-o"]
        command += ["junit_family=xunit1", "--junitxml", str(report)]
        started, before = time.monotonic(), children_seconds()
        done = subprocess.run([*command, *files], cwd=CHECKOUT, env=environment)
        if done.returncode not in (0, 1):
            raise UserError(f"pytest ended with {done.returncode} in the group `{name}`")
        return {
            **counts_of(report),
            "processor_seconds": round(children_seconds() - before, 1),
            "wall_seconds": round(time.monotonic() - started, 1),
        }


def children_seconds() -> float:
    """Processor time of all children that have ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(args: argparse.Namespace) -> None:
    """Run the groups that are asked for, then make the table.

    Raises:
        UserError: for a group that there is not; or where the checkout has changes and the records
            are to be published.
    """
    known = groups()
    wrong = [name for name in args.only if name not in known]
    if wrong:
        raise UserError(f"`--only` has `{wrong[0]}`: choose among {', '.join(known)}")
    publishing.check_checkout(args.out)
    for name in args.only or known:
        what, files = known[name]
        made = benchmark.provenance("studies.reliability", args.threads)
        logger.info("%s: %s", name, what)
        found = run_group(name, files, args.more, args.seed)
        record = {"schema": SCHEMA, "name": name, "what": what, "more": args.more,
                  "seed": args.seed, **found, **made}  # fmt: skip
        add_record(args.out / "records.jsonl", record, "name")
        logger.info("%s: %d of %d survived", name, found["survived"], found["tried"])
    write_table(args.out)


HEADER = ("faults", "tests", "tried", "survived", "stock fairseq", "processor seconds")


def table(found: Sequence[dict]) -> str:
    """The page."""
    order = {name: number for number, name in enumerate(GROUPS)}
    ranked = sorted(found, key=lambda one: (order.get(one["name"], len(order)), one["name"]))
    rows = [cells(one) for one in ranked]
    sums = {key: sum(one[key] for one in found) for key in ("tests", *COUNTS, "processor_seconds")}
    rows.append(["**all**", *numbers(sums)])
    lines = ["# What survives", "", *EXPLANATION, "", *benchmark.markdown(HEADER, rows), ""]
    for one in ranked:
        lines += [f"- failed: `{test}`" for test in one["failed"]]
    missing = [f"`{name}`" for name in GROUPS if name not in {one["name"] for one in found}]
    lines += ["", f"Not measured yet: {', '.join(missing)}."] if missing else []
    lines += ["", *sorted({f"{benchmark.conditions(one)}." for one in found}), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


EXPLANATION = (
    "A try is one fault: an interruption, a failing system call, a damaged or hostile file, a",
    "number that is none; or a test that makes no more than one. It survives where nothing is",
    "lost, let in or left half-written, and an error is one line. Stock fairseq: the same faults",
    "at fairseq as it was installed, where that says something, with torch's safe loading off,",
    "without which today's torch refuses all of its checkpoints.",
)


def cells(record: dict) -> list[str]:
    """A group's row."""
    return [f"{record['name']}: {record['what']}", *numbers(record)]


def numbers(record: dict) -> list[str]:
    """The counts and the time of a row."""
    stock = f"{record['stock survived']:,} of {record['stock tried']:,}"
    return [
        f"{record['tests']:,}",
        f"{record['tried']:,}",
        f"{record['survived']:,}",
        stock if record["stock tried"] else "-",
        f"{record['processor_seconds']:,.0f}",
    ]


def write_table(out: Path) -> None:
    """Make ``table.md`` from ``records.jsonl``."""
    publishing.check_records(out)
    write_bytes(out / "table.md", table(read_records(out / "records.jsonl")).encode())
    logger.info("wrote %s", out / "table.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.reliability``."""
    parser = argparse.ArgumentParser(
        prog="scripts.studies.reliability", description=(__doc__ or "").split("\n")[0]
    )
    add, number = parser.add_argument, command_line.positive_int
    add("--only", type=command_line.comma_list, default=(), help="groups; default: all")
    add("--more", type=number, default=1, help="times as many tries where they are drawn")
    add("--seed", type=number, default=1, help="of what is drawn; default: 1")
    add("--threads", type=number, default=1, help="default: 1")
    add("--out", type=Path, default=OUT, help=f"folder; default: {OUT}")
    add("--table-only", action="store_true", help="make the table from the records there are")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.reliability``."""
    args = parse_args(argv)
    return benchmark.main(args, run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
