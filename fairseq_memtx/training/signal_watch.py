"""A second signal that Python cannot answer: it runs handlers between its own instructions alone.

A rank that waits for another one in an exchange, whose partner may never come, is in the middle of
one instruction. The number of every signal that arrives can be written to a pipe all the same, and
a thread reads it there.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection

#: For the main thread to answer by itself, before the process is ended for it.
GRACE_SECONDS = 1.0


class SignalWatch:
    """Ends the process when a second signal comes and the main thread does not answer it.

    To be made in the main thread. Where the process has another user of
    `signal.set_wakeup_fd` (an event loop), nothing is watched.

    Args:
        signals: that count, all of them together.
        end: called in a thread with the number of the second one, when it is not answered.
    """

    def __init__(self, signals: Collection[int], end: Callable[[int], object]) -> None:
        self._signals, self._end = signals, end
        self._answered = threading.Event()
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        other = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if other != -1:
            signal.set_wakeup_fd(other)
        threading.Thread(target=self._watch, args=(reader,), daemon=True).start()

    def stop(self) -> None:
        """Watch no more, since the signals are answered; to be called in the main thread, once."""
        self._answered.set()
        with contextlib.suppress(BrokenPipeError):  # the thread has seen two signals and is done
            # Closing alone may not reach the other end: children have copies.
            os.write(self._writer, b"\0")
        self.forget()
        os.close(self._writer)

    def forget(self) -> None:
        """Let signals of this process, which may be a child of the one that watches, be."""
        with contextlib.suppress(ValueError):  # of a thread's child
            other = signal.set_wakeup_fd(-1)
            if other not in (-1, self._writer):
                signal.set_wakeup_fd(other)

    def _watch(self, reader: int) -> None:
        first = self._next(reader)
        second = self._next(reader) if first else 0
        if second and not self._answered.wait(GRACE_SECONDS):
            self._end(second)
        os.close(reader)

    def _next(self, reader: int) -> int:
        """The next of the signals; 0 where the watch has ended."""
        while number := os.read(reader, 1)[0]:
            if number in self._signals:
                return number
        return 0
