"""Tables and plots from records: ``python -m scripts.shared.report results/multi30k``.

Reads ``records/*.json`` of the folder and nothing else; writes ``table.md`` and the plots (PNG and
SVG) of that kind of records beside them, the same bytes whenever the records are the same. Records
of a checkout with changes are not published; see `publishing`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground import figures as drawing
from fairseq_memtx.ground.files import write_bytes
from scripts.shared import publishing
from scripts.shared.kept import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Which module makes the pages of a kind of records, by a field that only such records have.
#: Each has ``pages(folder, records)``. They are named, not imported:
#: the arrows of scripts/ point down only.
KINDS = {
    "route": "scripts.studies.cures.table",
    "evaluations": "scripts.studies.characters.table",
    "contexts": "scripts.studies.pronouns.table",
    "distances": "scripts.studies.programs.table",
    "bounds": "scripts.studies.mazes.table",
}
RUNS = "scripts.grid.pages"

#: What draws each plot, by the name of its files.
Figures = dict[str, "Callable[[], Figure]"]

logger = logging.getLogger(__name__)


def report(folder: Path) -> list[Path]:
    """Write the table and the plots of a folder's records; return what was written."""
    found = read_json(folder / "records")
    for place in (folder / "records", folder):
        publishing.check_records(place)
    page, figures = pages(folder / "records", list(found.values()))
    write_bytes(folder / "table.md", page.encode())
    written = [folder / "table.md"]
    for name, figure in figures.items():
        written += drawing.save(figure(), folder / name)
    logger.info("report: %d records, %s", len(found), ", ".join(path.name for path in written))
    return written


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The table, and what draws each plot, of one kind of records."""
    kind = next((module for field, module in KINDS.items() if field in found[0]), RUNS)
    return importlib.import_module(kind).pages(folder, found)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.shared.report``."""
    parser = argparse.ArgumentParser(
        prog="scripts.shared.report", description=__doc__.split("\n")[0]
    )
    parser.add_argument("folders", nargs="+", type=Path, help="such as results/multi30k")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.shared.report``."""
    args = parse_args(argv)

    def work() -> None:
        for folder in args.folders:
            report(folder)

    return command_line.run(work)


if __name__ == "__main__":
    raise SystemExit(main())
