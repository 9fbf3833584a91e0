"""Child processes that end when we do: own process group, output to a log, clean interruption."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

GRACE_SECONDS = 60.0
POLL_SECONDS = 0.25


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
    locked: IO[str] | None = None
    on_poll: Callable[[], None] = lambda: None
    process: subprocess.Popen | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the command in a process group of its own, appending to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=thread_environment(self.threads),
                start_new_session=True,
                pass_fds=[self.locked.fileno()] if self.locked else [],
            )

    def signal(self, number: int) -> None:
        """Send a signal to the whole group of a child that still runs."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def log_tail(self, lines: int = 5) -> str:
        """The last lines of the log, for an error message."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.rstrip("\n").split("\n")[-lines:])


def thread_environment(threads: int) -> dict[str, str]:
    """The environment of a child that may use ``threads`` threads for its arithmetic."""
    count = str(threads)
    limits = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
    return {**os.environ, **limits, "PYTHONUNBUFFERED": "1"}


def run_all(jobs: Sequence[Job], at_once: int) -> list[Job]:
    """Run the jobs, ``at_once`` of them together; return those that failed.

    An interruption (SIGINT or SIGTERM) is passed to the children, waits for them, and is raised
    again as :class:`KeyboardInterrupt`.
    """
    waiting, running, failed = list(jobs), list[Job](), list[Job]()
    with termination_as_interrupt():
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    job.start()
                    running.append(job)
                time.sleep(POLL_SECONDS)
                running, done = _poll(running)
                failed += [job for job in done if job.process.returncode != 0]  # type: ignore[union-attr]
        finally:
            stop(running)
    return failed


def _poll(running: list[Job]) -> tuple[list[Job], list[Job]]:
    """Let every job report; split the jobs into those that still run and those that ended."""
    done = [job for job in running if job.process is not None and job.process.poll() is not None]
    for job in running:
        job.on_poll()
    return [job for job in running if job not in done], done


def stop(jobs: Sequence[Job], grace: float = GRACE_SECONDS) -> None:
    """End the jobs that still run: ask first (fairseq-train then saves), insist after ``grace``
    seconds or when interrupted once more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for job in jobs:
            job.signal(number)
        with contextlib.suppress(KeyboardInterrupt):
            if _all_ended(jobs, grace):
                return


def _all_ended(jobs: Sequence[Job], grace: float) -> bool:
    """Wait for the jobs to end, ``grace`` seconds at most."""
    deadline = time.monotonic() + grace
    while any(job.process and job.process.poll() is None for job in jobs):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Turn SIGTERM into :class:`KeyboardInterrupt`, so that both end in the same clean way."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: leave the handlers alone
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
