"""Errors that a user can mend, shown as one line instead of a traceback."""

import sys
from types import TracebackType


class UserError(ValueError):
    """Something the user asked for that cannot be done; the message says what to do instead."""


def show_user_errors_in_one_line() -> None:
    """Let an uncaught `UserError` print its message alone; others keep their traceback."""
    previous = sys.excepthook
    if getattr(previous, "shows_user_errors", False):
        return

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    hook.shows_user_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook
