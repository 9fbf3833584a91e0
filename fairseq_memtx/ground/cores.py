"""How many threads a command should use, and may use at most."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

#: More threads than this, or than the machine has cores, end in a crash of the threads' library.
MOST_THREADS = 64


def default_threads() -> int:
    """`OMP_NUM_THREADS` where it is set, else the cores that this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if told.isdecimal() and int(told) >= 1:
        return min(int(told), most_threads())
    return usable_cores()


def most_threads() -> int:
    """As many as the machine has cores, or `MOST_THREADS` if these are fewer."""
    return max(MOST_THREADS, os.cpu_count() or 1)


def usable_cores(root: Path = Path("/")) -> int:
    """The cores that this process may use: by its affinity and by the limits of its container.

    Args:
        root: of the file system.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    return max(1, min([cores, *map(int, quotas(root))]))


def quotas(root: Path) -> Iterator[float]:
    """The limits of processor time, in cores, that hold for this process's control groups."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            top, read = root / "sys/fs/cgroup", _quota
        elif "cpu" in controllers.split(","):
            top, read = root / "sys/fs/cgroup/cpu", _old_quota
        else:
            continue
        # In a container its own group is mounted as the top, whatever the path says.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            quota = read(top.joinpath(*parts[:depth]))
            if quota is not None:
                yield quota


def _quota(group: Path) -> float | None:
    """The limit of a group of version 2: microseconds in a period, or `max`."""
    try:
        allowed, period = (group / "cpu.max").read_text().split()
        return int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _old_quota(group: Path) -> float | None:
    """The limit of a group of version 1; -1 is none."""
    try:
        allowed = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
        return allowed / period if allowed > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def thread_count(text: str) -> int:
    """An argument type: a number of threads."""
    value, most = int(text), most_threads()
    if not 1 <= value <= most:
        raise argparse.ArgumentTypeError(f"{value} is out of range: it has to be from 1 to {most}")
    return value
