"""Completion of `memtx` in a shell, by argcomplete where that is installed; see README."""

from __future__ import annotations

import argparse
import importlib
import os
from typing import Any

from . import find, names


def answer() -> None:
    """Print what may come next on the shell's line, and exit; only the command named is imported.

    argcomplete answers in the place of the first parser that is asked to parse.
    """
    import argcomplete

    stock = argparse.ArgumentParser.parse_known_args

    def complete(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        argparse.ArgumentParser.parse_known_args = stock  # type: ignore[method-assign]
        argcomplete.autocomplete(parser)

    argparse.ArgumentParser.parse_known_args = complete  # type: ignore[method-assign,assignment]
    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = (line + "|").split()[:-1]  # without the one that is being typed
    if len(words) > 1 and (command := find(words[1])):
        os.environ["_ARGCOMPLETE"] = "2"  # the line begins with the second word
        importlib.import_module(f"fairseq_memtx.commands.{command.module}").main([])
    parser = argparse.ArgumentParser(prog="memtx", add_help=False)
    parser.add_argument("command", choices=names())
    parser.parse_args()
