"""The processor time of a training: what is noted while it runs, and what is made of it."""

import sys
import time
from pathlib import Path

import pytest

from fairseq_memtx.ground.processes import Job
from scripts.experiment.stages.clock import Tick, TrainingClock, pace, read_ticks, seconds_at

STAMP = "2026-01-01 10:00:00 | INFO | "

#: Busy for 0.3 s before each line but the last, idle for 0.3 s after it: a late poll loses nothing.
BUSY = """
import time
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
stamp = "2026-01-01 10:00:00 | INFO | "
work(0.3)
print(stamp + "fairseq.trainer | begin training epoch 1", flush=True)
time.sleep(0.3)
for updates in (10, 20):
    work(0.3)
    numbers = f'{{"num_updates": "{updates}", "wpb": "50", "length": "%d"}}'
    print(stamp + "train_inner | " + numbers % updates, flush=True)
    time.sleep(0.3)
print(stamp + 'valid | {"valid_num_updates": "20"}', flush=True)
time.sleep(0.3)
"""


def train(folder: Path) -> tuple[Path, Path]:
    """Run the program under a clock; its notes and its log."""
    job = Job("busy", [sys.executable, "-c", BUSY], folder / "train.log")
    clock = TrainingClock(job, folder / "clock.jsonl")
    clock.poll()  # before there is anything
    job.start()
    while not job.ended():
        clock.poll()
        time.sleep(0.02)
    clock.poll()
    return clock.notes, job.log


def test_the_time_before_the_first_epoch_and_idle_time_do_not_count(tmp_path: Path) -> None:
    notes, _ = train(tmp_path)
    first, second, valid = read_ticks(notes)
    assert [(tick.kind, tick.updates) for tick in (first, second, valid)] == [
        ("train_inner", 10),
        ("train_inner", 20),
        ("valid", 20),
    ]
    # up to the time between two polls, and that of printing
    assert first.seconds == pytest.approx(0.3, abs=0.1)
    assert second.seconds == pytest.approx(0.6, abs=0.15)
    assert valid.seconds == pytest.approx(second.seconds, abs=0.1)


@pytest.mark.slow
def test_a_second_start_is_added(tmp_path: Path) -> None:
    train(tmp_path)
    notes, _ = train(tmp_path)
    ticks = read_ticks(notes)
    assert len(ticks) == 6
    assert ticks[-1].seconds == pytest.approx(2 * ticks[2].seconds, abs=0.2)
    assert seconds_at(ticks, "train_inner") == {10: ticks[3].seconds, 20: ticks[4].seconds}


def test_a_job_that_has_ended_still_knows_its_time(tmp_path: Path) -> None:
    job = Job("busy", [sys.executable, "-c", BUSY], tmp_path / "train.log")
    job.start()
    while not job.ended():
        time.sleep(0.02)
    assert 0.9 <= job.cpu_seconds() < 2.0


def test_the_pace_leaves_out_validations(tmp_path: Path) -> None:
    log, notes = tmp_path / "train.log", tmp_path / "clock.jsonl"
    line = STAMP + 'train_inner | {{"num_updates": "{}", "wpb": "{}"{}}}\n'
    log.write_text(line.format(10, 50, ', "length": "7"') + line.format(20, 60, ""))
    ticks = [("train_inner", 10, 2.0), ("valid", 10, 5.0), ("train_inner", 20, 8.0)]
    notes.write_text("".join(f'["{kind}", {at}, {seconds}]\n' for kind, at, seconds in ticks))
    assert read_ticks(notes)[1] == Tick("valid", 10, 5.0)
    assert pace(notes, log) == [
        {"updates": 10, "length": 7, "tokens": 500, "seconds": 2.0},
        {"updates": 20, "length": None, "tokens": 600, "seconds": 3.0},
    ]
