"""Tables and plots from records: ``python -m scripts.report results/multi30k``.

Reads ``records/*.json`` of the folder and nothing else; writes ``table.md``, ``bleu_vs_speed`` and
``training_curves`` (PNG and SVG) beside them, the same bytes whenever the records are the same.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from data_prep.files import write_bytes
from scripts import command_line, records
from scripts.tables import table

logger = logging.getLogger(__name__)


def report(folder: Path) -> list[Path]:
    """Write the table and the plots of one experiment's records; return what was written."""
    from scripts import plots

    found = records.read_all(folder / "records")
    page = folder / "table.md"
    write_bytes(page, table(found).encode())
    written = [page]
    written += plots.save(plots.bleu_against_speed(found), folder / "bleu_vs_speed")
    written += plots.save(plots.training_curves(found), folder / "training_curves")
    logger.info("report: %d records, %s", len(found), ", ".join(path.name for path in written))
    return written


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
