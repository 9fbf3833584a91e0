"""The plots of an experiment, from its records and nothing else; the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from data_prep.files import write_bytes
from scripts.tables import words_per_second

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"transformer": "#4c72b0", "feedback": "#c44e52"}
MARKERS = {"transformer": "o", "feedback": "s"}
#: matplotlib writes the date, its version and random ids unless told otherwise.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def bleu_against_speed(records: Sequence[dict]) -> Figure:
    """BLEU against words a second, a panel for each batch size, a curve for each decoder.

    A point is a depth: the median over repeats and seeds, with bars from the least to the most.
    """
    batches = [speed["batch"] for speed in records[0]["speed"]]
    figure, panels = new_figure(len(batches))
    for index, (panel, batch) in enumerate(zip(panels, batches, strict=True)):
        for decoder in sorted({record["decoder"] for record in records}):
            own = [record for record in records if record["decoder"] == decoder]
            draw_curve(panel, decoder, own, index)
        panel.set_title(f"batch {batch}")
        panel.set_xlabel("detokenised words a second")
        panel.set_ylabel("BLEU")
        panel.grid(alpha=0.3)
        panel.legend()
    return figure


def draw_curve(panel: Axes, decoder: str, records: Sequence[dict], index: int) -> None:
    """One decoder's points over its depths at the ``index``-th batch size."""
    points = []
    for depth in sorted({record["depth"] for record in records}):
        same = [record for record in records if record["depth"] == depth]
        rates = [words_per_second(record["speed"][index]) for record in same]
        bleus = [record["scores"]["bleu"]["score"] for record in same]
        x = spread([rate for found in rates for rate in found], median(r[0] for r in rates))
        points.append((depth, x, spread(bleus, median(bleus))))
    for depth, x, y in points:
        panel.annotate(str(depth), (x[0], y[0]), textcoords="offset points", xytext=(5, 5))
    panel.errorbar(
        [x[0] for _, x, _ in points],
        [y[0] for _, _, y in points],
        xerr=[[x[1] for _, x, _ in points], [x[2] for _, x, _ in points]],
        yerr=[[y[1] for _, _, y in points], [y[2] for _, _, y in points]],
        label=decoder,
        color=COLOURS.get(decoder),
        marker=MARKERS.get(decoder, "^"),
        capsize=3,
    )


def spread(values: Sequence[float], middle: float) -> tuple[float, float, float]:
    """The middle, and how far the least and the most lie from it."""
    return middle, middle - min(values), max(values) - middle


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
            label=f"{record['decoder']}, {record['depth']} layers, seed {record['seed']}",
            color=COLOURS.get(record["decoder"]),
            linestyle=styles[depths.index(record["depth"]) % len(styles)],
        )
    panel.set_xlabel("updates")
    panel.set_ylabel("validation loss, bits a subword")
    panel.grid(alpha=0.3)
    panel.legend()
    return figure


def new_figure(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure that needs no display, with its panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * panels, 4.2), layout="constrained")
    return figure, [figure.add_subplot(1, panels, index + 1) for index in range(panels)]


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``path`` with the endings .png and .svg."""
    import matplotlib

    written = []
    with matplotlib.rc_context({"svg.hashsalt": "memtx", "svg.fonttype": "path"}):
        for kind, metadata in METADATA.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
            written.append(path.with_suffix(f".{kind}"))
            write_bytes(written[-1], buffer.getvalue())
    return written
