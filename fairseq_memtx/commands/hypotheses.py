"""Detokenised translations out of fairseq-generate's output, in the order of the test set.

``fairseq-generate ... --bpe sentencepiece ... | memtx hypotheses --lines 1000 > text``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.progress import Progress


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, split at line feeds only.

    Raises:
        UserError: no such file, or not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"`{path}` must be a text file, but there is none") from None
    except UnicodeDecodeError as error:
        raise UserError(f"`{path}` must be UTF-8, but is not at byte {error.start}") from error
    return text.removesuffix("\n").split("\n") if text else []


def extract(output: Iterable[str], count: int) -> list[str]:
    """The D- lines (best detokenised hypotheses) of ``output``, ordered by sentence number.

    Raises:
        UserError: unless each of the numbers 0 to ``count - 1`` occurs exactly once.
    """
    found: dict[int, str] = {}
    for line in output:
        if not line.startswith("D-"):
            continue
        label, _, rest = line.rstrip("\n").partition("\t")
        number = int(label[2:])
        if number in found:
            raise UserError(f"sentence {number} must be translated once, but is there twice")
        found[number] = rest.partition("\t")[2]
    missing = [number for number in range(count) if number not in found]
    if missing or len(found) != count:
        first = f", the first missing is {missing[0]}" if missing else ""
        raise UserError(f"there must be {count} translations, but are {len(found)}{first}")
    return [found[number] for number in range(count)]


class LineCounter:
    """Counts the translations in fairseq-generate's output while it grows."""

    def __init__(self, log: Path, progress: Progress) -> None:
        self.log, self.progress, self.offset = log, progress, 0

    def poll(self) -> None:
        """Tell of those that came since the last call."""
        with self.log.open("rb") as file:
            file.seek(self.offset)
            chunk = file.read()
        self.offset += len(chunk)
        self.progress.add(chunk.count(b"\nD-"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx hypotheses``."""
    parser = argparse.ArgumentParser(prog="memtx hypotheses", description=__doc__.split("\n")[0])
    parser.add_argument("--lines", type=int, required=True, help="lines of the test set")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx hypotheses``: standard input to standard output."""
    args = parse_args(argv)
    try:
        output = sys.stdin.buffer.read().decode("utf-8").split("\n")
        lines = extract(output, args.lines)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode())
    return 0
