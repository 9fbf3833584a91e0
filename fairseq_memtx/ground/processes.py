"""Child processes that end when we do: own process group, output to a log, clean interruption."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .interruptions import terminable
from .writing import open_growing

GRACE_SECONDS = 60.0
POLL_SECONDS = 0.25

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl.h


@dataclass
class Job:
    """A command and where its output goes.

    ``locked`` is an open lock file that the child inherits: the lock then lasts as long as the
    child, even when the parent dies first. ``on_poll`` is called now and then while it runs.
    """

    name: str
    command: Sequence[str]
    log: Path
    threads: int = 1
    locked: BinaryIO | None = None
    on_poll: Callable[[], None] = lambda: None
    process: subprocess.Popen | None = field(default=None, repr=False)
    peak_memory: int | None = None  # bytes, once the child has ended
    _all_cpu_seconds: float | None = field(default=None, init=False, repr=False)

    def start(self) -> None:
        """Start the command in a process group of its own, appending to the log."""
        with open_growing(self.log) as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=thread_environment(self.threads),
                start_new_session=True,
                preexec_fn=end_with_parent(),
                pass_fds=[self.locked.fileno()] if self.locked else [],
            )

    def ended(self) -> bool:
        """Whether the child has ended; its peak memory is known from then on."""
        assert self.process is not None, "the job must be started first"
        if self.process.returncode is not None:
            return True
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.peak_memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        self._all_cpu_seconds = usage.ru_utime + usage.ru_stime
        return True

    def cpu_seconds(self) -> float:
        """Processor time of the child's threads: until now or, once it has ended, in all."""
        if self.ended():
            assert self._all_cpu_seconds is not None
            return self._all_cpu_seconds
        return cpu_seconds_of(self.process.pid)  # type: ignore[union-attr]

    def failed(self) -> bool:
        """Whether the child has ended with an error."""
        return self.ended() and self.process.returncode != 0  # type: ignore[union-attr]

    def signal(self, number: int) -> None:
        """Send a signal to the whole group of a child that still runs."""
        if not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)  # type: ignore[union-attr]

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of the log, for an error message."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.rstrip("\n").split("\n")[-lines:])


def cpu_seconds_of(pid: int, proc: Path = Path("/proc")) -> float:
    """Processor time of a running process until now; to a hundredth.

    Args:
        pid: of the process.
        proc: the folder in which Linux tells of processes; elsewhere `ps` is asked.
    """
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except FileNotFoundError:
        told = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True)
        return seconds_of_clock(told.stdout.strip())
    # After the name, in parentheses: state, parent and so on; user and system time in ticks.
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def seconds_of_clock(told: str) -> float:
    """Seconds of `[[days-]hours:]minutes:seconds`; 0 of nothing, as of a process that has ended."""
    days, dash, clock = told.rpartition("-")
    total = 86400.0 * int(days) if dash else 0.0
    for place, part in enumerate(reversed(clock.split(":") if clock else [])):
        total += float(part) * 60**place
    return total


def thread_environment(threads: int) -> dict[str, str]:
    """The environment of a child that may use ``threads`` threads for its arithmetic."""
    count = str(threads)
    limits = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
    return {**os.environ, **limits, "PYTHONUNBUFFERED": "1"}


def end_with_parent() -> Callable[[], None] | None:
    """What lets a child, called in it before its program, end with SIGTERM when we are killed.

    A killed process cannot end its children itself: they would go on, and meet those that a restart
    begins. Only Linux has such a signal; it tells of the death of the thread that made the child,
    so that a thread other than the main one makes children without it.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_for_the_signal() -> None:
        prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM))
        if os.getppid() != parent:  # it has died meanwhile
            os._exit(128 + signal.SIGTERM)

    return ask_for_the_signal


def run_all(jobs: Sequence[Job], at_once: int) -> list[Job]:
    """Run the jobs, ``at_once`` of them together; return those that failed.

    An interruption (SIGINT or SIGTERM) is passed to the children, waits for them, and is raised
    again as :class:`KeyboardInterrupt`.
    """
    waiting, running = list(jobs), list[Job]()
    with terminable():
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    waiting[0].start()
                    running.append(waiting.pop(0))
                time.sleep(POLL_SECONDS)
                still = [job for job in running if not job.ended()]
                for job in running:
                    job.on_poll()
                running = still
        finally:
            stop(running)
    return [job for job in jobs if job.failed()]


def run_visibly(command: Sequence[str], threads: int = 1) -> int:
    """Run one command that reports on our own terminal; return its exit status."""
    with terminable():
        child = subprocess.Popen(
            command, env=thread_environment(threads), preexec_fn=end_with_parent()
        )
        try:
            return child.wait()
        except KeyboardInterrupt:  # the terminal sent it to the child too, another sender did not
            child.terminate()
            child.wait()
            raise


def stop(jobs: Sequence[Job], grace: float = GRACE_SECONDS) -> None:
    """End the jobs that still run: ask first (fairseq-train then saves), insist after ``grace``
    seconds or when interrupted once more.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for job in jobs:
            job.signal(number)
        with contextlib.suppress(KeyboardInterrupt):
            if _all_ended(jobs, grace):
                return


def _all_ended(jobs: Sequence[Job], grace: float) -> bool:
    """Wait for the jobs to end, ``grace`` seconds at most."""
    deadline = time.monotonic() + grace
    while not all(job.ended() for job in jobs):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
