"""The processor time of a training at each line of its log.

Where other work shares the cores, it is a fairer measure than time by the clock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_memtx.ground.processes import Job
from fairseq_memtx.ground.writing import open_growing
from fairseq_memtx.training_log import LogReader


class Tick(NamedTuple):
    """An event of the log, and the seconds of processor time spent on training until then.

    The time is that of all starts together, each from the beginning of its first epoch: imports,
    reading the data and building the model do not count, validations and checkpoints do.
    """

    kind: str
    updates: int
    seconds: float


class TrainingClock:
    """Notes the ticks of a job that is fairseq-train, in the file ``notes``.

    Args:
        job: not started yet.
        notes: a line for each tick; those of an earlier start stay.
    """

    def __init__(self, job: Job, notes: Path) -> None:
        self.job, self.notes = job, notes
        self.reader = LogReader(job.log, offset=job.log.stat().st_size if job.log.exists() else 0)
        earlier = read_ticks(notes)
        self.before = earlier[-1].seconds if earlier else 0.0
        self.begin: float | None = None

    def poll(self) -> None:
        """Note the events since the last call; to be called several times a second."""
        events = self.reader.poll()
        if self.begin is None and self.reader.begun:
            self.begin = self.job.cpu_seconds()
        if not events or self.begin is None:
            return
        seconds = round(self.before + self.job.cpu_seconds() - self.begin, 2)
        ticks = (Tick(event.kind, event.updates, seconds) for event in events)
        with open_growing(self.notes) as notes:
            notes.write("".join(json.dumps(tick) + "\n" for tick in ticks).encode())


def read_ticks(notes: Path) -> list[Tick]:
    """All ticks in their order; none where there is no such file."""
    if not notes.exists():
        return []
    with notes.open(encoding="utf-8") as lines:
        return [Tick(*json.loads(line)) for line in lines]


def seconds_at(ticks: Sequence[Tick], kind: str) -> dict[int, float]:
    """Seconds by number of updates; the last account counts where a start repeated some."""
    return {tick.updates: tick.seconds for tick in ticks if tick.kind == kind}


def pace(notes: Path, log: Path) -> list[dict]:
    """How fast the training was between two lines of its log.

    Returns:
        For each ``train_inner`` line: ``updates`` made until then; ``length``, the longest that
        the curriculum allowed (None without one); ``tokens`` of the targets, and ``seconds`` of
        processor time, since the line before, be it of a validation.
    """
    lines = {event.updates: event for event in LogReader(log).poll() if event.kind == "train_inner"}
    found, last = [], Tick("begin", 0, 0.0)
    for tick in read_ticks(notes):
        event = lines.get(tick.updates)
        made = tick.updates - last.updates
        if tick.kind == "train_inner" and event is not None and made > 0:
            length = event.values.get("length")
            found.append(
                {
                    "updates": tick.updates,
                    "length": None if length is None else int(length),
                    "tokens": round(event.values["wpb"] * made),
                    "seconds": round(tick.seconds - last.seconds, 2),
                }
            )
        last = tick
    return found
