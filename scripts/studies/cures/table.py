"""The tables and the plot of `scripts.studies.remedies`, from its records and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from fairseq_memtx.ground.figures import new_figure
from fairseq_memtx.training_log import LogReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scripts.shared.report import Figures

#: Updates, seconds of training until then (validations included), validation loss in bits a token.
Point = tuple[int, float, float]

#: All times and updates are counted until a run is as good as this one is at its best.
YARDSTICK = "scratch"

#: Lengths of a curriculum that share a row of the table of speeds, in subwords.
LENGTHS_OF_A_ROW = 5

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

#: What a route is, for readers of the table.
ROUTE_MEANINGS = {
    "parallel": "a Transformer, which trains all positions in parallel; warm starts begin from it",
    "scratch": "the Feedback decoder from random weights",
    "reference": "the same, run by the plain loop instead of the manual engine",
    "curriculum": "the Feedback decoder, short targets first, in the order of each epoch",
    "filter": "the same, long pairs left out while the schedule runs",
    "prefix": "the same, long targets cut while the schedule runs",
    "warm": "the Feedback decoder from the weights of `parallel`",
    "both": "`curriculum` and `warm` together",
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


@dataclass(frozen=True)
class Cost:
    """A way to count what a run costs.

    Attributes:
        name: head of a column, label of an axis.
        of: cost of a record's run until each of its validations.
        before: of a record, the cost of the training that its warm start begins from.
    """

    name: str
    of: Callable[[dict], list[float]]
    before: Callable[[dict], float]

    def whole(self, record: dict) -> list[float]:
        """Cost until each validation, that of the training before it included."""
        return [self.before(record) + cost for cost in self.of(record)]


UPDATES = Cost("updates", lambda record: [point[0] for point in record["points"]], lambda _: 0.0)
PROCESSOR = Cost(
    "processor seconds",
    lambda record: record["processor_seconds"],
    lambda record: record["processor_seconds_before"],
)
WALL = Cost(
    "seconds by the clock",
    lambda record: [point[1] for point in record["points"]],
    lambda record: record["seconds_before"],
)


def times(records: Sequence[dict]) -> list[Cost]:
    """How these records count time; not all of them know the processor's."""
    known = all(record.get("processor_seconds") is not None for record in records)
    return [PROCESSOR, WALL] if known else [WALL]


def reached(record: dict, target: float) -> float | None:
    """The number of the validation, with a fraction, at which a run is as good as ``target``.

    Between two validations the loss is taken to fall in a straight line. None: it never is.
    """
    before = math.inf
    for number, (_, _, loss) in enumerate(record["points"]):
        if loss <= target:
            return float(number) if number == 0 else number - (target - loss) / (before - loss)
        before = loss
    return None


def between(costs: Sequence[float], number: float) -> float:
    """The cost at a fractional number of a validation."""
    below = math.floor(number)
    above = min(below + 1, len(costs) - 1)
    return costs[below] + (number - below) * (costs[above] - costs[below])


def best(record: dict) -> float:
    """The lowest validation loss."""
    return min(loss for _, _, loss in record["points"])


def by_route(records: Sequence[dict]) -> dict[str, list[dict]]:
    """The records of each route, routes in the order of the colours."""
    found = {name: [r for r in records if r["route"] == name] for name in COLOURS}
    return {name: runs for name, runs in found.items() if runs}


def page(records: Sequence[dict]) -> str:
    """The whole page: what each route costs, how fast its updates are, and on what it rests."""
    lines = [f"# {records[0]['experiment']}", "", *costs(records), ""]
    if any(record.get("pace") for record in records):
        lines += [*speeds(records), ""]
    return "\n".join([*lines, *conditions(records)]) + "\n"


def costs(records: Sequence[dict]) -> list[str]:
    """The table of costs: a row for each route, and what the numbers mean."""
    routes, measures = by_route(records), times(records)
    target = median(best(record) for record in routes.get(YARDSTICK) or records)
    head = ["route", "runs", "best validation loss", UPDATES.name]
    head += [cell for cost in measures for cell in (cost.name, "with the Transformer's")]
    return [
        *markdown([head, *(row(name, runs, target, measures) for name, runs in routes.items())]),
        "",
        "Median (least - most) over seeds. Loss in bits for each subword. Updates and seconds"
        f" count until the loss is at most {target:.3f}, the median best loss of `{YARDSTICK}`,"
        " which is taken to fall in a straight line between two validations; \"not reached\" says"
        " how many runs never were. Validations are included. \"With the Transformer's\" adds the"
        " training that a warm start begins from. Time by the clock depends on what else the"
        " machine did.",
        "",
        *(f"- `{name}`: {ROUTE_MEANINGS[name]}" for name in routes),
    ]  # fmt: skip


def row(name: str, runs: Sequence[dict], target: float, measures: Sequence[Cost]) -> list[str]:
    """The cells of one route."""
    ends = [(run, end) for run in runs if (end := reached(run, target)) is not None]
    cells = [name, str(len(runs)), spread([best(run) for run in runs], ".3f")]
    if not ends:
        return [*cells, "not reached", *[""] * (2 * len(measures))]
    missing = len(runs) - len(ends)
    note = f", {missing} not reached" if missing else ""
    cells.append(spread([between(UPDATES.of(run), end) for run, end in ends], ".0f") + note)
    for cost in measures:
        for count in (cost.of, cost.whole):
            cells.append(spread([between(count(run), end) for run, end in ends], ".0f"))
    return cells


def speeds(records: Sequence[dict]) -> list[str]:
    """The table of speeds: a row for some lengths of a curriculum, a column for each route."""
    routes = {name: [run for run in runs if run.get("pace")]
              for name, runs in by_route(records).items()}  # fmt: skip
    routes = {name: runs for name, runs in routes.items() if runs}
    rows = sorted({length_row(run, line) for runs in routes.values() for run in runs
                   for line in run["pace"]})  # fmt: skip
    cells = [[name_of_row(which), *(speed(runs, which) for runs in routes.values())]
             for which in rows]  # fmt: skip
    return [
        "Target subwords for each processor second of training, by the longest length allowed at"
        " the time; validations are not counted:",
        "",
        *markdown([["length", *routes], *cells]),
    ]  # fmt: skip


def length_row(record: dict, line: dict) -> float:
    """The largest length of the row that a line of the pace belongs to; infinite for all."""
    longest = max((one["length"] or 0 for one in record["pace"]), default=0)
    if line["length"] is None or line["length"] == longest:
        return math.inf
    return -(-line["length"] // LENGTHS_OF_A_ROW) * LENGTHS_OF_A_ROW


def name_of_row(largest: float) -> str:
    """The lengths of a row."""
    if math.isinf(largest):
        return "all"
    return f"{largest - LENGTHS_OF_A_ROW + 1:.0f} to {largest:.0f}"


def speed(runs: Sequence[dict], which: float) -> str:
    """Subwords a second of one route in one row; empty where it has no such lengths."""
    rates = []
    for run in runs:
        lines = [line for line in run["pace"] if length_row(run, line) == which]
        if seconds := sum(line["seconds"] for line in lines):
            rates.append(sum(line["tokens"] for line in lines) / seconds)
    return spread(rates, ",.0f") if rates else ""


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, of which the first row is the head."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def spread(values: Sequence[float], form: str) -> str:
    """Median (least - most)."""
    if len({format(value, form) for value in values}) == 1:
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


def loss_against_costs(records: Sequence[dict]) -> Figure:
    """Validation loss against time and against updates; a line for each run.

    Warm starts begin at the end of the training that they take over.
    """
    measures = [*times(records), UPDATES]
    figure, panels = new_figure(len(measures))
    for panel, cost in zip(panels, measures, strict=True):
        for name, runs in by_route(records).items():
            for number, run in enumerate(runs):
                losses = [loss for _, _, loss in run["points"]]
                label = name if number == 0 else None
                panel.plot(cost.whole(run), losses, color=COLOURS[name], label=label, linewidth=1)
        note = "" if cost is UPDATES else ", those of the Transformer included"
        panel.set_xlabel(cost.name + note)
        panel.set_ylabel("validation loss (bits for each subword)")
        panel.grid(alpha=0.3)
        panel.legend()
    return figure


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The page, and what draws its plot, for `scripts.shared.report`."""
    return page(found), {"loss-against-time": lambda: loss_against_costs(found)}
