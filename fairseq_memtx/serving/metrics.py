"""Numbers for whoever watches a server, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

#: Seconds of a request, the bounds of the histogram.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """One server's counters."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "memtx_requests", "Requests answered", ["path", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "memtx_request_seconds", "From arrival to answer", ["path"],
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self.batches = Counter(
            "memtx_batches", "Batches searched", ["model"], registry=self._registry
        )
        self.lines = Counter("memtx_lines", "Lines searched", ["model"], registry=self._registry)
        self._waiting = Gauge(
            "memtx_waiting_lines", "Lines that wait", ["model"], registry=self._registry
        )

    def watch(self, model: str, waiting: Callable[[], int]) -> Callable[[int], None]:
        """Ask for a model's lines that wait whenever the numbers are read.

        Returns:
            What is to be called with the lines of each of its batches.
        """
        self._waiting.labels(model).set_function(waiting)
        batches, lines = self.batches.labels(model), self.lines.labels(model)

        def searched(count: int) -> None:
            batches.inc()
            lines.inc(count)

        return searched

    def text(self) -> bytes:
        """All counters, as Prometheus reads them."""
        return generate_latest(self._registry)
