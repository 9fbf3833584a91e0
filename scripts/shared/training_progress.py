"""What a training that runs tells of itself: updates, their rate, the time left, losses."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.training_log import Event, LogReader

logger = logging.getLogger(__name__)


class TrainingProgress:
    """Shows a training's updates, speed and losses while its log grows.

    Args:
        name: of the training.
        log: what fairseq-train prints with `--log-format json`.
        max_epoch, max_update: where it ends; 0 for no such limit.
        stack: closes what shows it.
    """

    def __init__(
        self, name: str, log: Path, max_epoch: int, max_update: int, stack: ExitStack
    ) -> None:
        self.name, self.max_epoch, self.max_update = name, max_epoch, max_update
        self.reader = LogReader(log, offset=log.stat().st_size if log.exists() else 0)
        self.stack = stack
        self.progress: Progress | None = None
        self.updates = 0

    def poll(self) -> None:
        """Show what was logged since the last call."""
        for event in self.reader.poll():
            if event.kind == "train_inner":
                self._advance(event)
            elif event.kind == "valid":
                logger.info("%s: %s", self.name, describe_validation(event))

    def _advance(self, event: Event) -> None:
        if self.progress is None:
            left = max(0, self._total(event) - event.updates)
            self.progress = Progress(self.name, total=left, unit="updates")
            self.stack.enter_context(self.progress)
        else:
            self.progress.add(event.updates - self.updates)
        self.updates = event.updates

    def _total(self, event: Event) -> int:
        """The updates of the whole training, from its limits and the event's share of an epoch."""
        by_epochs = round(event.updates / event.epoch * self.max_epoch)
        return min([limit for limit in (by_epochs, self.max_update) if limit], default=0)


def describe_validation(event: Event) -> str:
    """One line on a validation: epochs done, updates, loss in bits for each token, perplexity."""
    nll = event.values["nll_loss"]
    when = f"epoch {event.epoch:.0f}, {event.updates} updates"
    return f"{when}: validation {nll:.3f} bits a token, perplexity {2**nll:.2f}"
