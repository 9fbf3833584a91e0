"""Trainings of a study: run side by side, their processor time counted over interruptions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from fairseq_memtx.ground import processes
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from scripts.shared.training_progress import TrainingProgress


def run_counted(jobs: Sequence[processes.Job], at_once: int) -> None:
    """Run trainings, or the rest of them, `at_once` side by side.

    Raises:
        UserError: where one fails; the message has the end of its log.
    """
    try:
        with ExitStack() as stack:
            for job in jobs:
                job.on_poll = TrainingProgress(job.name, job.log, *limits(job), stack).poll
            failed = processes.run_all(jobs, at_once)
    finally:
        for job in jobs:
            if job.process is not None:
                write_json(_path(job.log), [*_seconds(job.log), job.cpu_seconds()])
    if failed:
        raise UserError(
            f"training of {failed[0].name} failed, `{failed[0].log}` ends:\n{failed[0].log_tail()}"
        )


def limits(job: processes.Job) -> tuple[int, int]:
    """The epochs and updates with which a training ends, 0 for no such limit."""
    words = list(job.command)
    epochs, updates = (
        int(words[words.index(flag) + 1]) if flag in words else 0
        for flag in ("--max-epoch", "--max-update")
    )
    return epochs, updates


def processor_seconds(log: Path) -> float:
    """Of the training that wrote this log, all its starts together."""
    return sum(_seconds(log))


def _seconds(log: Path) -> list[float]:
    path = _path(log)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _path(log: Path) -> Path:
    return log.with_name("processor_seconds.json")
