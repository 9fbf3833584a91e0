import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from fairseq_memtx.ground.interruptions import noticed, put_off, terminable


@pytest.fixture(autouse=True)
def usual_handler() -> Iterator[None]:
    """An earlier test's training may have left its own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Loser:
    """What an interruption comes upon while it is destroyed: Python prints it and goes on."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_lost_interruption_is_noticed() -> None:
    before, counts = signal.getsignal(signal.SIGINT), list[int]()
    with pytest.raises(KeyboardInterrupt), noticed(counts.append) as report:
        report(1)
        lost = Loser()
        del lost
        counts.append(2)  # it is lost indeed
        report(3)
    assert counts == [1, 2]
    assert signal.getsignal(signal.SIGINT) is before


def test_one_that_is_not_lost_is_raised_at_once() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), noticed(None):
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert not reached


def test_put_off_to_the_end_of_the_block() -> None:
    before, reached = signal.getsignal(signal.SIGINT), False
    with pytest.raises(KeyboardInterrupt), put_off():
        signal.raise_signal(signal.SIGINT)
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is before


def test_put_off_lets_errors_through() -> None:
    with pytest.raises(ValueError, match="this"), put_off():
        raise ValueError("this")


def test_sigterm_is_an_interruption() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), terminable(), put_off():
        signal.raise_signal(signal.SIGTERM)
        reached = True
    assert reached


def test_who_ends_at_once_still_does() -> None:
    """Where SIGTERM has no handler it ends the process: there is nobody to put it off for."""
    program = (
        "import signal\n"
        "from fairseq_memtx.ground.interruptions import put_off\n"
        "with put_off():\n    signal.raise_signal(signal.SIGTERM)\n    print('on')\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (-signal.SIGTERM, "")


def test_other_threads_leave_handlers_alone() -> None:
    before, counts = signal.getsignal(signal.SIGINT), list[int]()

    def work() -> None:
        with put_off(), terminable(), noticed(counts.append) as report:
            report(7)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert counts == [7]
    assert signal.getsignal(signal.SIGINT) is before
