"""A bar with lines per second on a terminal, a plain line now and then in a log."""

import logging
import sys
import time
from types import TracebackType

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 15.0


class Progress:
    """Counts units of work; use as a context manager.

    Args:
        label: what is being done, e.g. "clean".
        total: expected number of units, or ``None`` if unknown.
        unit: name of a unit, e.g. "lines" or "B" (bytes, shown scaled).
    """

    def __init__(self, label: str, total: int | None = None, unit: str = "lines") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._bar = None
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from tqdm import tqdm

            unit = f" {self.unit}" if self.unit != "B" else "B"
            self._bar = tqdm(
                total=self.total, desc=self.label, unit=unit, unit_scale=True, dynamic_ncols=True
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None:
            logger.info("%s: done, %s", self.label, self.describe())

    def add(self, count: int) -> None:
        """Tell that ``count`` more units are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._logged >= LOG_EVERY_SECONDS:
            self._logged = time.monotonic()
            logger.info("%s: %s", self.label, self.describe())

    def describe(self) -> str:
        """The count so far, with its rate and, when the total is known, the time left."""
        seconds = time.monotonic() - self._started
        rate = self.done / max(seconds, 1e-9)
        told = f"{self.done:,} {self.unit} in {seconds:.1f} s ({rate:,.0f} {self.unit}/s)"
        if self.total and self.done < self.total and rate:
            told += f", {self.done / self.total:.0%}, {(self.total - self.done) / rate:.0f} s left"
        return told
