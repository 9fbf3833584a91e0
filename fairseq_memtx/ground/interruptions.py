"""Ctrl-C and SIGTERM as :class:`KeyboardInterrupt`, which is never lost."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does: with clean-up, and a line about it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread has handlers of signals
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def put_off() -> Iterator[None]:
    """Let interruptions come at the end of the block alone.

    One that is raised just when a thread has taken a lock leaves it taken, and whoever waits for it
    waits for ever: `concurrent.futures` has such places.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    usual = {number: handler for number, handler in usual.items() if callable(handler)}
    try:
        for number in usual:
            signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


@contextmanager
def noticed(progress: Callable[[int], object] | None) -> Iterator[Callable[[int], object]]:
    """A progress report that also raises an interruption which Python has lost.

    What is raised while a destructor or the callback of a weak reference runs goes no further:
    Python prints it and goes on. With many objects a signal often comes at such a time.

    Args:
        progress: called now and then with the number of lines finished since the last time; None
            where nobody wants to know.
    """
    report = progress or (lambda count: None)
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield report
        return
    came = False

    def note(number: int, frame: object) -> None:
        nonlocal came
        came = True
        before(number, frame)  # type: ignore[arg-type]

    def checked(count: int) -> None:
        if came:
            raise KeyboardInterrupt
        report(count)

    signal.signal(signal.SIGINT, note)
    try:
        yield checked
    finally:
        signal.signal(signal.SIGINT, before)
