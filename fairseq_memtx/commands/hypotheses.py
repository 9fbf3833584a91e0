"""Detokenised translations out of fairseq-generate's output, in the order of the test set.

``fairseq-generate ... --bpe sentencepiece ... | memtx hypotheses --lines 1000 > text``
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError, tell
from fairseq_memtx.ground.progress import Progress


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, split at line feeds only.

    Raises:
        UserError: no such file, or not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"there is no file `{path}`: check the path") from None
    except UnicodeDecodeError as error:
        raise UserError(f"`{path}` is not UTF-8 at byte {error.start}: convert it") from error
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
        number, fields = numbered(line)
        if len(fields) != 2:
            raise UserError(
                f"line `{shortened(line)}` is not D-NUMBER, a tab, a score, a tab and a text: is"
                " this the output of fairseq-generate?"
            )
        if number in found:
            raise UserError(f"sentence {number} is translated twice")
        found[number] = fields[1]
    missing = [number for number in range(count) if number not in found]
    if missing or len(found) != count:
        first = f", the first missing is {missing[0]}" if missing else ""
        raise UserError(f"there are {len(found)} translations instead of {count}{first}")
    return [found[number] for number in range(count)]


def numbered(line: str) -> tuple[int, list[str]]:
    """The sentence's number and the fields, at most two, of a line of fairseq-generate's output.

    Raises:
        UserError: it has no number.
    """
    label, *fields = line.rstrip("\n").split("\t", 2)
    if not (label[2:].isascii() and label[2:].isdecimal()):
        raise UserError(
            f"line `{shortened(line)}` does not begin with a sentence's number: is this the output"
            " of fairseq-generate?"
        )
    return int(label[2:][:18]), fields


def shortened(line: str) -> str:
    """A line for a message."""
    return ascii(line.rstrip("\n"))[1:-1][:60]


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
    parser.add_argument(
        "--lines", type=command_line.positive_int, required=True, help="lines of the test set"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx hypotheses``: standard input to standard output."""
    args = parse_args(argv)
    try:
        write(args.lines)
    except UserError as error:
        tell(error)
        return 1
    except OSError as error:
        tell(command_line.describe_os_error(error))
        with contextlib.suppress(OSError):  # Python would write what is left when it exits
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def write(count: int) -> None:
    """The work of the command.

    Raises:
        UserError: for an input that is no whole output of fairseq-generate.
    """
    try:
        output = sys.stdin.buffer.read().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"the input is not UTF-8 at byte {error.start}: convert it") from None
    lines = extract(output, count)
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode())
    sys.stdout.buffer.flush()
