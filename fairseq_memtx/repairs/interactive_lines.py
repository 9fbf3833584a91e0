"""Lets fairseq-interactive take one sentence from each line, as `memtx translate` does.

Stock ends a sentence at a bare carriage return too, and invalid UTF-8 ends in a traceback. May go
once fairseq splits at line feeds only, and names the line that it cannot read.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ..ground.text import read_lines
from .wrapping import wrap

MODULE = "fairseq_cli.interactive"


def apply() -> None:
    """Wrap what reads the lines, where the command is running: importing it has side effects."""
    main = sys.modules.get("__main__")
    is_main = getattr(getattr(main, "__spec__", None), "name", None) == MODULE
    for module in (sys.modules.get(MODULE), main if is_main else None):
        if module is not None:
            wrap(module, "buffered_read", _buffered_read)


def _buffered_read(stock: Callable[..., Any], input: str, buffer_size: int) -> Iterator[list[str]]:
    with contextlib.ExitStack() as stack:
        file = sys.stdin.buffer if input == "-" else stack.enter_context(open(input, "rb"))
        lines: list[str] = []
        for line in read_lines(file):
            lines.append(line.strip())
            if len(lines) >= buffer_size:
                yield lines
                lines = []
        if lines:
            yield lines
