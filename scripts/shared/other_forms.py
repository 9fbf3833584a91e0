"""Tables of a page as CSV or LaTeX: ``python -m scripts.shared.other_forms results/X/table.md``.

Reads the Markdown tables that are published and prints them in another form, so that a paper or a
plot takes the same numbers. In CSV a cell such as ``1,080 (1,058-1,220)`` becomes three columns:
the value, the least and the most, as plain numbers. LaTeX wants the package booktabs.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError

Rows = list[list[str]]

NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?"
#: A value with the least and the most; what follows (a mark, a unit) is none of either.
RANGED = re.compile(rf"({NUMBER}) \(({NUMBER}) ?- ?({NUMBER})\)")
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {letter: "\\" + letter for letter in "&%$#_{}"}


def read_tables(text: str) -> list[Rows]:
    """The tables of a Markdown page, each as rows of cells, the header first."""
    found: list[Rows] = []
    before = ""
    for line in text.split("\n"):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not all(re.fullmatch(":?-+:?", cell) for cell in cells):
                found[-1].append(cells)
        before = line
    return found


def plain(cell: str) -> str:
    """A cell without marks of Markdown; a number without its commas."""
    cell = cell.replace("**", "").replace("`", "")
    return cell.replace(",", "") if re.fullmatch(NUMBER, cell) else cell


def to_csv(rows: Rows) -> str:
    """One table; a column with ranges becomes three."""
    columns: list[list[str]] = []
    for header, *cells in zip(*rows, strict=True):
        ranges = [RANGED.match(cell.replace("**", "")) for cell in cells]
        if not any(ranges):
            columns.append([plain(header), *map(plain, cells)])
            continue
        for number, name in enumerate(("", ", least", ", most"), start=1):
            values = [
                plain(ranged[number]) if ranged else (plain(cell) if number == 1 else "")
                for cell, ranged in zip(cells, ranges, strict=True)
            ]
            columns.append([plain(header) + name, *values])
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(zip(*columns, strict=True))
    return out.getvalue()


def to_latex(rows: Rows) -> str:
    """One table as a tabular; all columns but the first are set to the right."""
    lines = [r"\begin{tabular}{l" + "r" * (len(rows[0]) - 1) + "}", r"\toprule"]
    for number, row in enumerate(rows):
        lines.append(" & ".join(map(latex, row)) + r" \\")
        if number == 0:
            lines.append(r"\midrule")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def latex(cell: str) -> str:
    """A cell with LaTeX's own characters escaped and a dash between the ends of a range."""
    cell = re.sub(rf"\(({NUMBER}) ?- ?({NUMBER})\)", r"(\1--\2)", cell.replace("`", ""))
    bold = re.fullmatch(r"\*\*(.*)\*\*", cell)
    escaped = "".join(SPECIAL.get(letter, letter) for letter in (bold[1] if bold else cell))
    return rf"\textbf{{{escaped}}}" if bold else escaped


FORMS = {"csv": to_csv, "latex": to_latex}


def convert(path: Path, form: str, number: int) -> str:
    """The table of that number, from 1, of a page; all of them, a line between, for 0.

    Raises:
        UserError: the page has no table of that number, or one whose rows differ in length.
    """
    found = read_tables(path.read_text(encoding="utf-8"))
    if not found or number > len(found):
        raise UserError(f"`{path}` has {len(found)} tables: there is no number {max(number, 1)}")
    chosen = [found[number - 1]] if number else found
    if any(len({len(row) for row in rows}) > 1 for rows in chosen):
        raise UserError(f"`{path}` has a table whose rows are not of one length")
    return "\n".join(FORMS[form](rows) for rows in chosen)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.shared.other_forms``."""
    parser = argparse.ArgumentParser(
        prog="scripts.shared.other_forms", description=__doc__.split("\n")[0]
    )
    parser.add_argument("page", type=Path, help="a page of tables, such as results/X/table.md")
    parser.add_argument("--format", choices=FORMS, default="csv", help="(default: csv)")
    parser.add_argument("--table", type=int, default=0, metavar="N", help="its Nth table alone")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.shared.other_forms``."""
    args = parse_args(argv)
    return command_line.run(lambda: sys.stdout.write(convert(args.page, args.format, args.table)))


if __name__ == "__main__":
    raise SystemExit(main())
