"""Commands of fairseq and of ours as words: to be run, shown and published."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

USER_DIR = Path(__file__).resolve().parents[1]
#: The checkout or, where the package is installed, the folder that holds it.
ROOT = USER_DIR.parent

#: Trains as fairseq's `translation` does, but goes on exactly where it was interrupted.
TASK = "memtx_translation"

#: fairseq's console commands and the modules behind them, so that no PATH is needed to run them.
_MODULES = {
    "fairseq-preprocess": "fairseq_cli.preprocess",
    "fairseq-train": "fairseq_cli.train",
    "fairseq-generate": "fairseq_cli.generate",
    "fairseq-eval-lm": "fairseq_cli.eval_lm",
}


def executable(command: list[str]) -> list[str]:
    """The same command run by this very Python: ``fairseq-train`` -> ``python -m ...``."""
    if command[0] in _MODULES:
        return [sys.executable, "-m", _MODULES[command[0]], *command[1:]]
    if command[0] == "python":
        return [sys.executable, *command[1:]]
    return command


def shell_line(command: list[str]) -> str:
    """The command as one line for a shell, without this machine's folders: fit to be published."""
    return shlex.join(relative(word) for word in command)


def relative(word: str) -> str:
    """``word`` without this machine's folders: a path below it is told from there on,
    another one by its last name; of several joined by colons each.
    """
    several = word.split(":")
    if len(several) > 1 and all(Path(part).is_absolute() for part in several):
        return ":".join(map(relative, several))
    name, equals, value = word.partition("=")  # such as NAME=CHECKPOINT
    if equals and Path(value).is_absolute():
        return f"{name}={relative(value)}"
    path = Path(word)
    if path.is_absolute() and path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return path.name if path.is_absolute() or ".." in path.parts else word
