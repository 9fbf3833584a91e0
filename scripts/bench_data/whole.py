"""Time and memory of a whole preparation, run as its own process from an empty folder."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.corpus import find_parallel
from data_prep.options import Options
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers

POLL_SECONDS = 0.1


def measure_whole(train: Sequence[str], flags: Sequence[str], copies: int = 1) -> dict[str, Any]:
    """Run ``parallel`` on ``copies`` copies of the training text.

    Returns:
        Seconds of each stage and of the whole command, by the clock and of processor time;
        ``peak_mib``, the most memory that all its processes had together (proportional set size,
        polled), and ``largest_mib``, the most that one of them had (resident set size).
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        prefixes = [_repeat(prefix, copies, Path(folder) / "text") for prefix in train]
        words = [sys.executable, "-m", "data_prep", "parallel", "--out", str(out)]
        started = time.perf_counter()
        memory = _run([*words, "--train", *prefixes, *flags])
        seconds = time.perf_counter() - started
        report = json.loads((out / "prepared.json").read_bytes())
        stamps = [json.loads(path.read_bytes()) for path in (out / "stamps").glob("*.json")]
        with (out / "work" / f"clean.{report['source_lang']}").open("rb") as file:
            words_kept = sum(len(line.split()) for line in file)
    stages = {stamp["stage"]: stamp for stamp in stamps if "stage" in stamp}
    read = report["stages"]["clean"]["read"]
    return {
        "copies": copies,
        "pairs_read": read,
        "pairs": report["pairs"],
        "dropped": report["dropped"],
        "symbols": report["vocab_size"],
        "source_words_per_line": round(words_kept / report["stages"]["clean"]["kept"], 2),
        "spm_sample_pairs": report["stages"]["spm"]["pairs"],
        "workers": _workers(flags),
        "options": report["options"],
        "seconds": round(seconds, 2),
        "stage_seconds": {name: stages[name]["seconds"] for name in report["stages"]},
        "stage_processor_seconds": {
            name: stages[name]["processor_seconds"] for name in report["stages"]
        },
        **memory,
    }


def _workers(flags: Sequence[str]) -> int:
    return int(flags[flags.index("--workers") + 1]) if "--workers" in flags else Options().workers


def _repeat(prefix: str, copies: int, folder: Path) -> str:
    """A prefix whose files hold the text of ``prefix`` several times."""
    if copies == 1:
        return prefix
    folder.mkdir(exist_ok=True)
    for path in find_parallel(prefix, "en", "de").paths():
        with atomic_writers(folder / path.name) as (out,):
            for _ in range(copies):
                with path.open("rb") as file:  # gzip files may be put one after another, too
                    shutil.copyfileobj(file, out)
    return str(folder / Path(prefix).name)


def _run(words: list[str]) -> dict[str, Any]:
    """Run a command to its end, watching the memory of its processes."""
    before = _of_children()
    process = subprocess.Popen(words)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(_proportional_kib, _tree(process.pid))))
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise UserError(f"the measured command failed with exit status {process.returncode}")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "processor_seconds": round(_of_children() - before, 2),
        "peak_mib": round(peak / 1024),
        "largest_mib": round(largest / 1024),
    }


def _of_children() -> float:
    """Processor time of children that have ended, without what the watching itself takes."""
    return sum(os.times()[2:4])


def _tree(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, todo = [], [root]
    while todo:
        process = todo.pop()
        found.append(process)
        todo += children.get(process, [])
    return found


def _proportional_kib(process: int) -> int:
    """Memory of a process in KiB, shared pages counted by their share."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().split("\n")
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
