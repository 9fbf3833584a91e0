import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fairseq_memtx.ground import workers as pool
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.workers import IN_FLIGHT_PER_WORKER, ordered_map


def make_slow_first() -> Callable[[int], int]:
    return slow_first


def slow_first(item: int) -> int:
    if item == 0:
        time.sleep(0.3)
    return item * 10


def make_failing(kind: str) -> Callable[[int], int]:
    return partial(fail, kind)


def fail(kind: str, item: int) -> int:
    if item == 5:
        if kind == "die":
            os._exit(9)
        raise UserError("item 5 is bad")
    return item


@pytest.mark.parametrize(("workers", "shares_memory"), [(1, False), (3, False), (3, True)])
def test_results_come_in_order(workers: int, shares_memory: bool) -> None:
    results = list(ordered_map(make_slow_first, range(40), workers, shares_memory))
    assert results == [item * 10 for item in range(40)]


def test_input_is_not_read_far_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1000):
            taken += 1
            yield item

    results = ordered_map(make_slow_first, items(), workers=2)
    for expected in range(5):
        assert next(results) == expected * 10
        assert taken <= expected + 1 + 2 * IN_FLIGHT_PER_WORKER
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_arrives(workers: int) -> None:
    with pytest.raises(UserError, match="item 5 is bad"):
        list(ordered_map(partial(make_failing, "raise"), range(20), workers))


@pytest.mark.parametrize("shares_memory", [False, True])
def test_the_death_of_a_worker_is_told(shares_memory: bool) -> None:
    with pytest.raises(UserError, match="killed"):
        list(ordered_map(partial(make_failing, "die"), range(20), 2, shares_memory))


def start_when_told() -> None:
    """Begin as a worker does, once a SIGTERM waits."""
    while signal.SIGTERM not in signal.sigpending():
        time.sleep(0.01)
    pool._start_worker(partial(make_failing, ""))


@pytest.mark.parametrize("by_the_pool", [True, False])
def test_a_starting_worker_ends_for_its_pool_alone(by_the_pool: bool) -> None:
    """The pool sends SIGTERM when another worker has died, and then waits; what signals the whole
    group of processes is the parent's to answer.
    """
    with pool._held_back():
        process = multiprocessing.get_context("spawn").Process(target=start_when_told)
        process.start()
    if by_the_pool:
        process.terminate()
    else:
        subprocess.run(["kill", "-TERM", str(process.pid)], check=True)
    process.join(60)
    assert process.exitcode == int(by_the_pool)


@pytest.mark.parametrize("shares_memory", [False, True])
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, shares_memory: bool) -> None:
    script = (
        "import itertools, os, time\n"
        "from tests.fairseq_memtx.ground.telling import make_telling\n"
        "from fairseq_memtx.ground.workers import ordered_map\n"
        "if __name__ == '__main__':\n"
        f"    pids = ordered_map(make_telling, itertools.count(), 2, {shares_memory})\n"
        "    for pid in pids: print(pid, flush=True)\n"
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    parent = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert parent.stdout is not None
    workers = {int(parent.stdout.readline()) for _ in range(8)}
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
