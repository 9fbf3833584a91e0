"""Reads what fairseq-train prints with ``--log-format json``, while it runs or afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(r"^[^|]*\| INFO \| (train_inner|train|valid) \| (\{.*\})$")
_BEGIN = "| begin training epoch "
_PARAMETERS = re.compile(r"num\. shared model params: ([\d,]+)")


@dataclass
class Event:
    """One line of numbers: ``kind`` is train_inner (now and then), train or valid (each epoch)."""

    kind: str
    updates: int
    epoch: float  # epochs done, with a fraction
    values: dict[str, float]


@dataclass
class LogReader:
    """Follows a log file: each :meth:`poll` returns the events written since the last one.

    ``begun`` is whether an epoch has begun, ``parameters`` the model's number of weights.
    """

    path: Path
    offset: int = 0
    begun: bool = False
    parameters: int | None = None
    _rest: bytes = field(default=b"", repr=False)

    def poll(self) -> list[Event]:
        """New events; a line that is still being written waits for the next call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as log:
            log.seek(self.offset)
            chunk = log.read()
        self.offset += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [event for line in lines for event in self._parse(line.decode("utf-8", "replace"))]

    def _parse(self, line: str) -> Iterator[Event]:
        if found := _PARAMETERS.search(line):
            self.parameters = int(found[1].replace(",", ""))
        self.begun = self.begun or _BEGIN in line
        if found := _LINE.match(line):
            yield _event(found[1], json.loads(found[2]))


def _event(kind: str, stats: dict) -> Event:
    """The event in one line's numbers; the prefix that fairseq adds (``train_loss``) goes."""
    prefix = "" if kind == "train_inner" else f"{kind}_"
    plain = {key.removeprefix(prefix): value for key, value in stats.items()}
    values = {key: float(value) for key, value in plain.items() if _is_number(value)}
    done = values.get("update", values.get("epoch", 0.0))
    return Event(kind, int(values.get("num_updates", 0)), done, values)


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def summarise(path: Path) -> dict:
    """Losses and curves of a finished training, in bits (``nll_loss``) and updates.

    A training that was resumed repeats some updates in its log; the last account of each counts.
    """
    reader = LogReader(path)
    events = reader.poll()
    train = {event.updates: event for event in events if event.kind == "train"}
    valid = {event.updates: event for event in events if event.kind == "valid"}
    summary: dict = {"parameters": reader.parameters}
    if train:
        last = train[max(train)]
        tokens = sum(event.values["wpb"] for event in train.values()) / len(train)
        summary |= {"updates": last.updates, "epochs": last.values["epoch"]}
        summary |= {"target_tokens_per_update": round(tokens, 1)}
        summary |= {"target_tokens": round(tokens * last.updates)}
        summary |= {"train_nll_loss": last.values["nll_loss"]}
    if valid:
        summary |= {"valid_nll_loss": valid[max(valid)].values["nll_loss"]}
        summary |= {"valid_loss": valid[max(valid)].values["loss"]}
        losses = [valid[updates].values["loss"] for updates in sorted(valid)]
        summary["best_valid_loss"] = min(losses)
        # As fairseq's --patience counts them: an equal loss is no better one.
        summary["validations_since_best"] = len(losses) - 1 - losses.index(min(losses))
    curve = [[u, train[u].values["nll_loss"]] for u in sorted(train)]
    summary["curves"] = {
        "train_nll_loss": curve,
        "valid_nll_loss": [[u, valid[u].values["nll_loss"]] for u in sorted(valid)],
    }
    return summary
