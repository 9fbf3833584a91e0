"""fairseq's own commands in this process, from their command lines to what they print."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

from fairseq import checkpoint_utils
from fairseq_cli import eval_lm, generate, interactive, preprocess, train, validate

from fairseq_memtx import plugin, repairs
from fairseq_memtx.ground.errors import UserError

assert plugin
repairs.apply()  # fairseq-interactive's too, which is imported only now

#: fairseq's name of each command, and its function.
COMMANDS: dict[str, Callable[[], object]] = {
    "eval-lm": eval_lm.cli_main,
    "generate": generate.cli_main,
    "interactive": interactive.cli_main,
    "preprocess": preprocess.cli_main,
    "train": train.cli_main,
    "validate": validate.cli_main,
}


@dataclass(frozen=True)
class Ran:
    """How a command went.

    Attributes:
        out: what it printed.
        log: what it logged, a message a line.
        refused: the one line with which it refused, None where it ended well.
    """

    out: str
    log: str
    refused: str | None


def run(name: str, words: Sequence[str], typed: str = "") -> Ran:
    """Run one of fairseq's commands; any other error than a refusal is raised as it is.

    Args:
        name: of `COMMANDS`.
        words: of its command line.
        typed: its standard input.
    """
    out, said = io.StringIO(), io.StringIO()
    stdin = io.TextIOWrapper(io.BytesIO(typed.encode()))
    refused = None
    # Left from another training in this process.
    vars(checkpoint_utils.save_checkpoint).pop("best", None)
    with (
        mock.patch.object(sys, "argv", [f"fairseq-{name}", *words]),
        mock.patch.object(sys, "stdin", stdin),
        # It takes away every other one of those who listen to the log, pytest and us among them.
        mock.patch.object(validate, "reset_logging", lambda: None),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(said),
        logged() as log,
    ):
        try:
            COMMANDS[name]()
        except UserError as error:
            refused = str(error)
        except SystemExit as ended:  # argparse's, which has printed its usage before
            if ended.code not in (None, 0):
                refused = said.getvalue().strip().split("\n")[-1]
    return Ran(out.getvalue(), log.getvalue(), refused)


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """Collect what fairseq logs."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
