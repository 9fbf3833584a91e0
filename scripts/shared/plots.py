"""The plots of an experiment, from its records and nothing else; the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from fairseq_memtx.ground.figures import new_figure
from scripts.shared.tables import words_per_second

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "transformer": "#4c72b0",
    "feedback": "#c44e52",
    "transformer-xl": "#8172b3",
    "compressive": "#937860",
}
MARKERS = {"transformer": "o", "feedback": "s", "transformer-xl": "h", "compressive": "p"}
FRONT: dict[str, Any] = {"color": "#999999", "linewidth": 4, "alpha": 0.35}
FRONT_LABEL = "Pareto front"
#: First digits of the numbers on an axis of speed whose ends are less than so many times apart.
TICKS = {
    4.0: (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8),
    12.0: (1, 2, 3, 5, 7),
    float("inf"): (1, 2, 5),
}


class Point(NamedTuple):
    """A depth of a curve; of words a second and of BLEU the middle, the least and the most."""

    depth: int
    speed: tuple[float, float, float]
    score: tuple[float, float, float]


def bleu_against_speed(records: Sequence[dict]) -> Figure:
    """BLEU against words a second, a panel for each batch size, a curve for each decoder.

    A point is a depth: the median over repeats and seeds, with bars from the least to the most.
    """
    batches = [speed["batch"] for speed in records[0]["speed"]]
    figure, panels = new_figure(len(batches))
    for index, (panel, batch) in enumerate(zip(panels, batches, strict=True)):
        every = []
        for decoder in sorted({record["decoder"] for record in records}):
            own = [record for record in records if record["decoder"] == decoder]
            points = points_of(own, index, lambda record: record["scores"]["bleu"]["score"])
            draw_curve(panel, points, look(decoder), label=decoder)
            every += points
        draw_front(panel, pareto_front(every))
        label_speed(panel, f"batch {batch}")
    figure.legend(  # below the panels, where it covers no point
        *panels[0].get_legend_handles_labels(),
        title="numbers: decoder layers; bars: least to most",
        loc="outside lower center",
        ncols=6,
    )
    return figure


def points_of(records: Sequence[dict], index: int, score: Callable[[dict], float]) -> list[Point]:
    """A point for each depth: the medians over seeds at the ``index``-th batch size."""
    points = []
    for depth in sorted({record["depth"] for record in records}):
        same = [record for record in records if record["depth"] == depth]
        rates = [words_per_second(record["speed"][index]) for record in same]
        scores = [score(record) for record in same]
        middle = median(rate for rate, _, _ in rates)
        speed = middle, min(low for _, low, _ in rates), max(high for _, _, high in rates)
        points.append(Point(depth, speed, (median(scores), min(scores), max(scores))))
    return points


def look(decoder: str) -> dict[str, Any]:
    """Colour and marker of a decoder; those that have none of their own share one."""
    return {"color": COLOURS.get(decoder, "#333333"), "marker": MARKERS.get(decoder, "P")}


def draw_curve(
    panel: Axes,
    points: Sequence[Point],
    style: dict[str, Any],
    hollow: bool = False,
    label: str | None = None,
) -> None:
    """A line through points by depth, whose number stands in the marker; thin bars around them."""
    speeds, scores = [point.speed for point in points], [point.score for point in points]
    lines = panel.errorbar(
        [middle for middle, _, _ in speeds],
        [middle for middle, _, _ in scores],
        xerr=[[m - low for m, low, _ in speeds], [high - m for m, _, high in speeds]],
        yerr=[[m - low for m, low, _ in scores], [high - m for m, _, high in scores]],
        markersize=9,
        markerfacecolor="white" if hollow else style["color"],
        linewidth=1.3,
        elinewidth=0.8,
        capsize=2,
        **style,
    )
    lines[0].set_label(label)  # not of the whole, whose bars would be in the legend too
    for bar in lines[2]:
        bar.set_alpha(0.6)
    for point in points:
        panel.annotate(
            str(point.depth),
            (point.speed[0], point.score[0]),
            xytext=(0, -0.5),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=6.5,
            color=style["color"] if hollow else "white",
            zorder=5,
        )


def pareto_front(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Words a second and BLEU of the points that none other beats in both, the fastest last."""
    front: list[tuple[float, float]] = []
    middles = [(point.speed[0], point.score[0]) for point in points]
    for speed, score in sorted(middles, key=lambda one: (-one[0], -one[1])):
        if not front or score > front[-1][1]:
            front.append((speed, score))
    return front[::-1]


def draw_front(panel: Axes, front: Sequence[tuple[float, float]]) -> None:
    """A step line through the front, under everything else."""
    panel.plot(
        [speed for speed, _ in front],
        [score for _, score in front],
        drawstyle="steps-pre",
        zorder=0,
        label=FRONT_LABEL,
        **FRONT,
    )


def label_speed(panel: Axes, title: str) -> None:
    """Titles, and plain numbers on an axis of words a second on which equal ratios look alike."""
    panel.set_title(title)
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    digits = next(digits for times, digits in TICKS.items() if high < times * low)
    ticks = [digit * 10.0**power for power in range(-2, 7) for digit in digits]
    ticks = [tick for tick in ticks if low <= tick <= high]
    panel.set_xticks(ticks, [f"{tick:,.10g}" for tick in ticks], fontsize="small")
    panel.set_xticks([], minor=True)
    panel.set_xlabel("detokenised words a second (log scale)")
    panel.set_ylabel("BLEU")
    panel.grid(alpha=0.3)


def training_curves(records: Sequence[dict]) -> Figure:
    """Validation loss against updates, a curve for each run."""
    figure, (panel,) = new_figure(1)
    styles = ["-", "--", ":", "-."]
    depths = sorted({record["depth"] for record in records})
    for record in records:
        curve = record["training"]["curves"]["valid_nll_loss"]
        panel.plot(
            [updates for updates, _ in curve],
            [loss for _, loss in curve],
            label=f"{record['decoder']}, {layers(record['depth'])}, seed {record['seed']}",
            color=look(record["decoder"])["color"],
            linestyle=styles[depths.index(record["depth"]) % len(styles)],
        )
    panel.set_xlabel("updates")
    panel.set_ylabel("validation loss, bits a subword")
    panel.grid(alpha=0.3)
    panel.legend()
    return figure


def layers(count: int) -> str:
    """So many layers in words."""
    return "1 layer" if count == 1 else f"{count} layers"
