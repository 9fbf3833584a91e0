"""The console command `memtx`: finds the subcommand and hands it the rest of the line."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from fairseq_memtx import __version__
from fairseq_memtx.commands import GROUPS, find, names
from fairseq_memtx.ground.command_line import describe_os_error
from fairseq_memtx.ground.errors import tell

WRONG_USAGE = 2  # argparse's exit status
NO_READER = 141  # the shell's exit status for SIGPIPE


def help_text() -> str:
    """What `memtx --help` prints."""
    lines = ["usage: memtx [--help | --version] COMMAND ...", ""]
    lines += ["Translation decoders with a memory, for fairseq.", ""]
    width = max(map(len, names())) + 2
    for group, commands in GROUPS.items():
        lines.append(f"{group}:")
        lines += [f"  {one.name:<{width}}{one.summary}" for one in commands]
        lines.append("")
    lines.append("`memtx COMMAND --help` tells what a command takes. Training itself is fairseq's:")
    lines.append('fairseq-train --user-dir "$(memtx user-dir)" ...')
    return "\n".join(lines)


def refuse(word: str) -> int:
    """Say that there is no such command, and which may be meant."""
    close = difflib.get_close_matches(word, names(), n=1)
    meant = f"; did you mean `{close[0]}`?" if close else ""
    tell(f"`{word}` is no command of memtx{meant} (see `memtx --help`)")
    return WRONG_USAGE


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `memtx`; returns the exit status."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completion
        importlib.import_module("fairseq_memtx.commands.completion").answer()
    try:
        try:
            return hand_on(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        if isinstance(error, BrokenPipeError):  # its reader has enough, as in `memtx --help | head`
            return NO_READER
        tell(describe_os_error(error))
        return 1


def hand_on(words: list[str]) -> int:
    """Answer what is asked of `memtx` itself, or call the command that is named; the status."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"memtx {__version__}")
        return 0
    command = find(words[0])
    if command is None:
        return refuse(words[0])
    module = importlib.import_module(f"fairseq_memtx.commands.{command.module}")
    return module.main(words[1:])
