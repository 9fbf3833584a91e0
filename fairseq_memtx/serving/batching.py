"""Requests that wait share batches: one thread for each model, which takes what has come."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ..translation.results import Translation
from .limits import RequestLimits


@dataclass(frozen=True)
class Wish:
    """What a request asks of the search; requests that ask for the same share batches.

    The fields are those of `SearchSettings`.
    """

    beam: int = 5
    nbest: int = 1
    lenpen: float = 1.0
    alignment: bool = False


#: Of each line its translations, best first.
Found = list[list[Translation]]
Search = Callable[[Wish, Sequence[str]], Found]


class BusyError(Exception):
    """So much waits already that a request is not taken."""


class ClosedError(Exception):
    """The model is about to go: nothing is taken any more."""


@dataclass
class WaitingRequest:
    """A request that waits: lines for the search, or work of another kind."""

    wish: Wish | None
    lines: Sequence[str]
    work: Callable[[], Any] | None = None
    future: Future = field(default_factory=Future)


class SharedBatches:
    """One model's thread, and what waits for it.

    Args:
        search: of lines, as a wish has it. Called by this thread alone.
        limits: of the server.

    Attributes:
        observe: called with the number of lines of each batch that was searched.
    """

    def __init__(self, search: Search, limits: RequestLimits) -> None:
        self._search, self._limits = search, limits
        self.observe: Callable[[int], object] = lambda lines: None
        self._waiting: deque[WaitingRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="memtx-search", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether requests are worked on."""
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """How many lines wait."""
        with self._changed:
            return self._count()

    def translate(self, wish: Wish, lines: Sequence[str]) -> Future[Found]:
        """Translate lines, with others in the same batches.

        A future that is cancelled while it waits is left out. It fails with whatever the search of
        these lines alone raises.

        Raises:
            BusyError: where too much waits already.
            ClosedError: after `close`.
        """
        return self._add(WaitingRequest(wish, lines))

    def alone(self, work: Callable[[], Any]) -> Future[Any]:
        """Do other work of the model in its turn.

        Raises:
            BusyError, ClosedError: see `translate`.
        """
        return self._add(WaitingRequest(None, [""], work))

    def close(self) -> None:
        """Take nothing any more, finish what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _count(self) -> int:
        return sum(len(job.lines) for job in self._waiting if not job.future.cancelled())

    def _add(self, job: WaitingRequest) -> Future:
        with self._changed:
            if self._closed:
                raise ClosedError
            if self._count() + len(job.lines) > self._limits.waiting:
                raise BusyError
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def _work(self) -> None:
        while jobs := self._next():
            self._run(jobs)

    def _next(self) -> list[WaitingRequest]:
        """The jobs of the next batch; none once all is done and nothing comes any more."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
            time.sleep(0 if self._closed else self._limits.window)
            with self._changed:
                taken = self._take()
            if jobs := [job for job in taken if job.future.set_running_or_notify_cancel()]:
                return jobs

    def _take(self) -> list[WaitingRequest]:
        """The first that waits, and those after it that ask for the same, as far as they fit."""
        first = self._waiting.popleft()
        taken, kept, lines = [first], [], len(first.lines)
        while first.work is None and self._waiting:
            job = self._waiting.popleft()
            fits = lines + len(job.lines) <= self._limits.batch
            if job.work is None and job.wish == first.wish and fits:
                taken.append(job)
                lines += len(job.lines)
            else:
                kept.append(job)
        self._waiting.extendleft(reversed(kept))
        return taken

    def _run(self, jobs: Sequence[WaitingRequest]) -> None:
        """Search for several jobs at once; where that fails, for each alone."""
        try:
            found = self._found(jobs)
        except Exception as error:  # of any kind: it is the requests', never the thread's end
            if len(jobs) > 1:
                for job in jobs:
                    self._run([job])
            else:
                jobs[0].future.set_exception(error)
            return
        for job, result in zip(jobs, found, strict=True):
            job.future.set_result(result)

    def _found(self, jobs: Sequence[WaitingRequest]) -> list[Any]:
        """The result of each job."""
        (first, *_) = jobs
        if first.work is not None:
            return [first.work()]
        assert first.wish is not None
        lines = [line for job in jobs for line in job.lines]
        found = iter(self._search(first.wish, lines))
        self.observe(len(lines))
        return [[next(found) for _ in job.lines] for job in jobs]
