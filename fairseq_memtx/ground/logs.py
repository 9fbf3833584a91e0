"""Logging of commands: to standard error, with what cannot be printed as escapes."""

import logging
import os
import sys

from .errors import one_line


class PrintableRecord(logging.LogRecord):
    """A line of the log in which names of files can end no line, colour nothing and be encoded.

    Args that are text, paths or errors come as :func:`one_line` has them; the rest keeps its line
    ends and tabs, for fairseq logs a model as the lines that it is. Of any logger and for any
    handler: those of other libraries and of tests, which may send lines to other processes, too.
    """

    def getMessage(self) -> str:
        args = tuple(map(_shown, self.args)) if isinstance(self.args, tuple) else self.args
        message = str(self.msg) % args if args else str(self.msg)
        return "".join(x if x in "\n\t" else one_line(x) for x in message)


def _shown(value: object) -> object:
    """An arg of a line: the same, where it can be printed in one line."""
    if isinstance(value, str | os.PathLike | BaseException) and not str(value).isprintable():
        return one_line(value)
    return value


def log_to_stderr(form: str, time_form: str | None = None) -> None:
    """Log this process to standard error, unless logging is set up already; escape in any case.

    Args:
        form: of a line, as :func:`logging.basicConfig` has it.
        time_form: of the time in it; default: date and time.
    """
    logging.setLogRecordFactory(PrintableRecord)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=form, datefmt=time_form)
