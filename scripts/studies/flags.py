"""The flags of the studies that train runs of their own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line, shell


def parser(name: str, doc: str | None, jobs: str = "trainings side by side"
           ) -> argparse.ArgumentParser:  # fmt: skip
    """A parser with the flags that all of them have.

    Args:
        name: of the command, as in `python -m NAME`.
        doc: of its module, whose first line is told.
        jobs: what is said of `--jobs`.
    """
    whole = command_line.positive_int
    made = argparse.ArgumentParser(prog=name, description=(doc or "").split("\n")[0])
    add = made.add_argument
    add("--corpora", type=Path, help="folder of text (default: $MEMTX_CORPORA)")
    add("--runs-dir", type=Path, default=Path("runs"))
    add("--results-dir", type=Path, default=Path("results"))
    add("--jobs", type=whole, default=1, help=jobs)
    add("--threads", type=whole, default=1, help="of each training and evaluation")
    add("--train-args", nargs=argparse.REMAINDER, default=[], help="last: flags for fairseq-train")
    return made


def recording(name: str, doc: str | None, out: Path, seeds: Sequence[int]
              ) -> argparse.ArgumentParser:  # fmt: skip
    """A parser for studies that train on one thread and whose page is made from their records.

    Args:
        name: of the command, as in `python -m NAME`.
        doc: of its module, whose first line is told.
        out: the usual folder of records and table.
        seeds: the usual ones.
    """
    made = argparse.ArgumentParser(prog=name, description=(doc or "").split("\n")[0])
    add = made.add_argument
    add("--corpora", type=Path, help="folder of text (default: $MEMTX_CORPORA)")
    add("--seeds", type=command_line.int_list, default=seeds)
    add("--runs-dir", type=Path, default=Path("runs"))
    add("--out", type=Path, default=out, help=f"folder; default: {out}")
    add("--table-only", action="store_true", help="make the table from the records there are")
    made.set_defaults(threads=1)
    return made


def parse(made: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed flags, with the whole line as `command` for the records."""
    args = made.parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    args.command = shell.shell_line(["python", "-m", made.prog, *words])
    return args
