"""Children end when we do, keep their locks, and their failures are seen."""

import contextlib
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fairseq_memtx.ground import processes
from fairseq_memtx.ground.processes import Job

# Reacts to SIGINT as fairseq-train does: saves, then ends.
SAVES_WHEN_ASKED = """
import pathlib, signal, sys, time
def save(number, frame):
    pathlib.Path(sys.argv[1]).write_text("saved")
    raise SystemExit(3)
signal.signal(signal.SIGINT, save)
print("ready", flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def job(tmp_path, name: str, program: str, *args: str) -> Job:
    return Job(name, [sys.executable, "-c", program, *args], tmp_path / f"{name}.log")


def wait_for(log, word: str) -> None:
    deadline = time.monotonic() + 30
    while not (log.exists() and word in log.read_text()):
        assert time.monotonic() < deadline, f"{log} never said {word}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_all_run_and_failures_are_returned(tmp_path) -> None:
    good = job(tmp_path, "good", "print('hello')")
    bad = job(tmp_path, "bad", "print('line'); raise SystemExit(2)")
    assert processes.run_all([good, bad], at_once=2) == [bad]
    assert good.log.read_text() == "hello\n"
    assert bad.log_tail() == "line"
    assert good.peak_memory is not None
    assert good.peak_memory > 2**20


def test_no_more_than_asked_run_at_once(tmp_path) -> None:
    program = "import sys, time; t = time.time(); time.sleep(0.4); print(t, time.time())"
    jobs = [job(tmp_path, str(number), program) for number in range(3)]
    assert processes.run_all(jobs, at_once=1) == []
    spans = sorted(tuple(map(float, one.log.read_text().split())) for one in jobs)
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_lets_the_child_save_and_is_passed_on(tmp_path, number) -> None:
    child = job(tmp_path, "child", SAVES_WHEN_ASKED, str(tmp_path / "saved"))

    def interrupt() -> None:
        wait_for(child.log, "ready")
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        processes.run_all([child], at_once=1)
    assert (tmp_path / "saved").read_text() == "saved"
    assert child.process is not None
    assert not is_alive(child.process.pid)


def test_a_deaf_child_is_killed(tmp_path) -> None:
    child = job(tmp_path, "deaf", DEAF)
    child.start()
    wait_for(child.log, "ready")
    processes.stop([child], grace=0.2)
    assert child.ended()
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


def test_the_child_keeps_the_lock_when_the_parent_lets_go(tmp_path) -> None:
    path = tmp_path / "lock"
    child = job(tmp_path, "child", SAVES_WHEN_ASKED, str(tmp_path / "saved"))
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.locked = lock
        child.start()
    wait_for(child.log, "ready")
    with path.open("w") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        processes.stop([child])
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_threads_of_a_child_are_limited() -> None:
    environment = processes.thread_environment(3)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert environment["PATH"] == os.environ["PATH"]


PARENT = """
import sys
from pathlib import Path
from fairseq_memtx.ground import processes
child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
if sys.argv[1] == "visibly":
    processes.run_visibly(child)
else:
    processes.run_all([processes.Job("child", child, Path(sys.argv[1]))], 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child")
@pytest.mark.parametrize("how", ["visibly", "as a job"])
def test_a_child_ends_when_its_parent_is_killed(how: str, tmp_path) -> None:
    log = tmp_path / "log"
    words = [sys.executable, "-c", PARENT, "visibly" if how == "visibly" else str(log)]
    with log.open("a") as output, subprocess.Popen(words, stdout=output) as parent:
        while not log.read_text().endswith("\n"):
            time.sleep(0.05)
        parent.kill()
    child = int(log.read_text())
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # ended, or waiting for whoever took it over to notice
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.1)
                continue
        return
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the child goes on")


def test_processor_time_is_told_without_proc(tmp_path) -> None:
    busy = job(tmp_path, "busy", "import time\nwhile time.process_time() < 30: pass")
    busy.start()
    assert busy.process is not None
    try:
        told = [0.0, 0.0]
        while min(told) < 0.2:
            nowhere = tmp_path / "nowhere"
            told = [busy.cpu_seconds(), processes.cpu_seconds_of(busy.process.pid, nowhere)]
            time.sleep(0.02)
            if told[0] > 3:  # `ps` counts whole seconds on some systems
                break
        assert told[1] == pytest.approx(told[0], abs=1.0)
        assert told[1] > 0
    finally:
        busy.signal(signal.SIGKILL)
    assert busy.process.wait() != 0 or busy.ended()


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("0:01.23", 1.23),
        ("00:00:07", 7.0),
        ("2-03:04:05", 183845.0),
        ("12:00.50", 720.5),
        ("", 0.0),
    ],
)
def test_clocks_are_read(told: str, seconds: float) -> None:
    assert processes.seconds_of_clock(told) == pytest.approx(seconds)


def test_only_linux_lets_children_end_with_us(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert processes.end_with_parent() is None
