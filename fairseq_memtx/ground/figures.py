"""Figures that need no display and come out as the same bytes every time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: matplotlib writes the date, its version and random ids unless told otherwise.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def new_figure(
    columns: int, rows: int = 1, inches: tuple[float, float] = (5.5, 4.2)
) -> tuple[Figure, list[Axes]]:
    """A figure that needs no display, with its panels of these inches side by side, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(inches[0] * columns, inches[1] * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]


def names(path: Path) -> list[Path]:
    """The files that `save` writes."""
    return [path.with_suffix(f".{kind}") for kind in METADATA]


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``path`` with the endings .png and .svg."""
    import matplotlib

    written = []
    with matplotlib.rc_context({"svg.hashsalt": "memtx", "svg.fonttype": "path"}):
        for (kind, metadata), name in zip(METADATA.items(), names(path), strict=True):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
            written.append(name)
            write_bytes(name, buffer.getvalue())
    return written
