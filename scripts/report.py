"""Tables and plots from records: ``python -m scripts.report results/multi30k``.

Reads ``records/*.json`` of the folder and nothing else; writes ``table.md`` and the plots (PNG and
SVG) of that kind of records beside them, the same bytes whenever the records are the same.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.files import write_bytes
from scripts import command_line, records
from scripts.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What draws each plot, by the name of its files.
Figures = dict[str, "Callable[[], Figure]"]

logger = logging.getLogger(__name__)


def report(folder: Path) -> list[Path]:
    """Write the table and the plots of a folder's records; return what was written."""
    found = records.read_json(folder / "records")
    page, figures = pages(folder / "records", list(found.values()))
    write_bytes(folder / "table.md", page.encode())
    written = [folder / "table.md"]
    if figures:
        from scripts import plots

        for name, figure in figures.items():
            written += plots.save(figure(), folder / name)
    logger.info("report: %d records, %s", len(found), ", ".join(path.name for path in written))
    return written


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The table, and what draws each plot, of one kind of records: a field of it tells which."""
    if "route" in found[0]:
        from scripts import remedy_table

        return remedy_table.page(found), {
            "loss-against-time": lambda: remedy_table.loss_against_costs(found)
        }
    if "evaluations" in found[0]:
        from scripts import char_table

        return char_table.table(found), {}
    from scripts import plots

    checked = records.read_all(folder)
    return table(checked), {
        "bleu_vs_speed": lambda: plots.bleu_against_speed(checked),
        "training_curves": lambda: plots.training_curves(checked),
    }


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.report``."""
    parser = argparse.ArgumentParser(prog="scripts.report", description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="such as results/multi30k")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.report``."""
    args = parse_args(argv)

    def work() -> None:
        for folder in args.folders:
            report(folder)

    return command_line.run(work)


if __name__ == "__main__":
    raise SystemExit(main())
