"""An ordered, bounded map over several processes.

Results come in the order of the items whatever the number of workers, so the output is the same
for one worker and for many; at most a few items per worker are in flight, so memory does not grow
with the length of the input.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, TypeVar

from .errors import UserError
from .interruptions import SIGNALS, put_off

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 3

_function: Callable[[Any], Any] | None = None


def ordered_map(
    make_function: Callable[[], Callable[[Item], Result]],
    items: Iterable[Item],
    workers: int,
    shares_memory: bool = False,
) -> Iterator[Result]:
    """Apply ``make_function()`` to every item and yield the results in order.

    Args:
        make_function: called once in each worker process (it must pickle, unless the memory is
            shared: a class' partial does), so that models and tables are loaded once and never
            sent.
        items: consumed only as fast as results are taken.
        workers: with 1 the work is done in this process.
        shares_memory: whether the workers begin as copies of this process, whose memory the system
            copies only where one writes. For what is large and only read. Other threads of this
            process are not copied, so that none may hold a lock that a worker needs.
    """
    if workers == 1:
        yield from map(make_function(), items)
        return
    executor = ProcessPoolExecutor(
        workers,
        # fork copies the threads' locks of libraries that are loaded already.
        mp_context=multiprocessing.get_context("fork" if shares_memory else "spawn"),
        initializer=_start_worker,
        initargs=(make_function,),
    )
    try:
        yield from _windowed(_submitting(executor, _run), items, workers * IN_FLIGHT_PER_WORKER)
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed before its end (out of memory?): run the same command"
            " again, with fewer `--workers`"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def threaded_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """The same by threads of this process, for functions that let go of Python's lock."""
    executor = ThreadPoolExecutor(threads)
    try:
        submit = _submitting(executor, function)
        yield from _windowed(submit, items, threads * IN_FLIGHT_PER_WORKER)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _submitting(executor: Executor, function: Callable[[Any], Any]) -> Callable[[Any], Future[Any]]:
    return lambda item: executor.submit(function, item)


def _windowed(
    submit: Callable[[Any], Future[Any]], items: Iterable[Any], window: int
) -> Iterator[Any]:
    pending: deque[Future[Any]] = deque()
    for item in items:
        with put_off(), _held_back():  # a worker that this starts must not see our signals either
            pending.append(submit(item))
        if len(pending) >= window:
            yield _result(pending.popleft())
    while pending:
        yield _result(pending.popleft())


def _result(made: Future[Any]) -> Any:
    """What has been made, once it is."""
    with put_off():
        return made.result()


# Ctrl-C, timeout and the like signal a whole process group. Only the parent decides what that
# means: a pool whose workers die under it can wait for ever to hand them their next items.
@contextmanager
def _held_back() -> Iterator[None]:
    """Signals arrive at the end of the block; processes started in it inherit the waiting."""
    resource_tracker.ensure_running()  # the first process would start it, which ends the waiting
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(make_function: Callable[[], Callable[[Any], Any]]) -> None:
    global _function
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # forgets one that came while the worker started
    # A SIGTERM of that time is forgotten too, unless the pool sent it, since another worker died:
    # it waits for this one's end.
    came = signal.sigtimedwait([signal.SIGTERM], 0)
    if came is not None and came.si_pid == os.getppid():
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which the pool itself ends a worker
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _function = make_function()


def _die_with_parent() -> None:
    """A worker would wait for ever for the next item of a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _run(item: Any) -> Any:
    assert _function is not None
    return _function(item)
