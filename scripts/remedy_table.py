"""The table and the plot of `scripts.remedies`, from its records and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from scripts.plots import new_figure
from scripts.training_log import LogReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Updates, seconds of training until then (validations included), validation loss in bits a token.
Point = tuple[int, float, float]

#: All times and updates are counted until a run is as good as this one is at its best.
YARDSTICK = "scratch"

COLOURS = {
    "parallel": "#8c8c8c",
    "scratch": "#c44e52",
    "reference": "#937860",
    "curriculum": "#4c72b0",
    "filter": "#64b5cd",
    "prefix": "#8172b3",
    "warm": "#dd8452",
    "both": "#55a868",
}


def read_points(log: Path) -> list[Point]:
    """The validations in fairseq-train's log, each with the time of the update before it.

    fairseq counts seconds from each start; those before an interruption are added.
    """
    points: list[Point] = []
    before = now = 0.0
    for event in LogReader(log).poll():
        if event.kind == "train_inner":
            seconds = event.values["wall"]
            before += now if seconds < now else 0.0
            now = seconds
        elif event.kind == "valid":
            points = [point for point in points if point[0] < event.updates]
            points.append((event.updates, before + now, event.values["nll_loss"]))
    return points


def reached(record: dict, target: float) -> tuple[int, float] | None:
    """Updates and seconds at the first validation that is no worse than ``target``, or None."""
    for updates, seconds, loss in record["points"]:
        if loss <= target:
            return updates, seconds
    return None


def best(record: dict) -> float:
    """The lowest validation loss."""
    return min(loss for _, _, loss in record["points"])


def by_route(records: Sequence[dict]) -> dict[str, list[dict]]:
    """The records of each route, routes in the order of the colours."""
    found = {name: [r for r in records if r["route"] == name] for name in COLOURS}
    return {name: runs for name, runs in found.items() if runs}


def table(records: Sequence[dict]) -> str:
    """The whole page: a row for each route, and what the numbers mean."""
    routes = by_route(records)
    yardstick = routes.get(YARDSTICK) or records
    target = median(best(record) for record in yardstick)
    lines = [
        f"# {records[0]['experiment']}",
        "",
        "| route | runs | best validation loss | updates | seconds | with the Transformer's |",
        "|---|---|---|---|---|---|",
        *(row(name, runs, target) for name, runs in routes.items()),
        "",
        f"Median (least - most) over seeds. Loss in bits for each subword. \"Updates\" and seconds"
        f" count until the loss is at most {target:.3f}, the median best loss of `{YARDSTICK}`;"
        " \"not reached\" says how many runs never were. Seconds are wall time, validations"
        " included. The last column adds the training that a warm start begins from.",
        "",
        *conditions(records),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def row(name: str, runs: Sequence[dict], target: float) -> str:
    """One route."""
    ends = [(run, found) for run in runs if (found := reached(run, target)) is not None]
    missing = len(runs) - len(ends)
    cells = [name, str(len(runs)), spread([best(run) for run in runs], ".3f")]
    if ends:
        note = f", {missing} not reached" if missing else ""
        cells.append(spread([updates for _, (updates, _) in ends], ".0f") + note)
        cells.append(spread([seconds for _, (_, seconds) in ends], ".0f"))
        cells.append(spread([run["seconds_before"] + s for run, (_, s) in ends], ".0f"))
    else:
        cells += ["not reached", "", ""]
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float], form: str) -> str:
    """Median (least - most)."""
    if len(set(values)) == 1:
        return format(values[0], form)
    return f"{median(values):{form}} ({min(values):{form}} - {max(values):{form}})"


def conditions(records: Sequence[dict]) -> list[str]:
    """On what, with what and by which commands the numbers were taken."""

    def distinct(values: Sequence[object]) -> str:
        return ", ".join(dict.fromkeys(map(str, values)))

    return [
        f"- processor: {distinct([record['hardware']['cpu'] for record in records])}",
        f"- threads of each training: {distinct([record['threads'] for record in records])}",
        f"- torch {distinct([record['versions'].get('torch') for record in records])}, commit"
        f" {distinct([record['commit'][:12] for record in records])}",
        f"- `{distinct([record['commands']['remedies'] for record in records])}`",
    ]


def loss_against_time(records: Sequence[dict]) -> Figure:
    """Validation loss against seconds and against updates; a line for each run.

    Warm starts begin at the end of the training that they take over.
    """
    figure, (by_time, by_update) = new_figure(2)
    for name, runs in by_route(records).items():
        for number, run in enumerate(runs):
            updates, seconds, losses = zip(*run["points"], strict=True)
            label = name if number == 0 else None
            whole = [run["seconds_before"] + second for second in seconds]
            by_time.plot(whole, losses, color=COLOURS[name], label=label, linewidth=1)
            by_update.plot(updates, losses, color=COLOURS[name], label=label, linewidth=1)
    by_time.set_xlabel("seconds, with those of the Transformer that a warm start begins from")
    by_update.set_xlabel("updates")
    for panel in (by_time, by_update):
        panel.set_ylabel("validation loss (bits for each subword)")
        panel.grid(alpha=0.3)
        panel.legend()
    return figure
