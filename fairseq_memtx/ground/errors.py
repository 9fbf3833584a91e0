"""Errors that a user can mend, shown as one line instead of a traceback."""

import sys
from types import TracebackType


class UserError(ValueError):
    """Something the user asked for that cannot be done; the message says what to do instead."""


def one_line(message: object) -> str:
    """A message with line ends, control characters and what turns text around as escapes.

    Names of files and of what lies in them may hold any of these; on a terminal they would be
    other lines, colours or commands.
    """
    return "".join(x if x.isprintable() else ascii(x)[1:-1] for x in str(message))


def tell(message: object) -> None:
    """Say on standard error, in one line, why a command ends without its work."""
    print(f"error: {one_line(message)}", file=sys.stderr)


def show_user_errors_in_one_line() -> None:
    """Let an uncaught `UserError` print its message alone; others keep their traceback."""
    previous = sys.excepthook
    if getattr(previous, "shows_user_errors", False):
        return

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, UserError):
            tell(error)
        else:
            previous(kind, error, traceback)

    hook.shows_user_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook
