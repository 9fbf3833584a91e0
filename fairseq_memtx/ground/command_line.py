"""What all commands of this package share: logging, errors in one line, argument types."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError, tell
from .logs import log_to_stderr
from .versions import versions

logger = logging.getLogger(__name__)

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LARGEST = 2**31 - 1  # of the numbers that libraries below us take
INTERRUPTED = 130  # the shell's exit status for SIGINT


def run(work: Callable[[], Any], argv: list[str] | None = None) -> int:
    """Call ``work`` with logging set up; return the exit status.

    A :class:`UserError` or a file that cannot be read or written becomes one line on stderr, an
    interruption says how to go on.
    """
    log_to_stderr("%(asctime)s %(message)s", "%H:%M:%S")
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    # fairseq calls it as it is imported; there is nothing that a user could do.
    warnings.filterwarnings("ignore", ".*torch.jit.script.* is deprecated", FutureWarning)
    logger.info("%s", ", ".join(f"{name} {version}" for name, version in versions().items()))
    logger.info("command: %s", " ".join(sys.argv if argv is None else argv))
    try:
        work()
    except UserError as error:
        tell(error)
        return 1
    except OSError as error:
        tell(describe_os_error(error))
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return 0


def describe_os_error(error: OSError) -> str:
    """One line about an operating system's error, and what to do."""
    where = f" at `{error.filename}`" if error.filename else ""
    if error.errno in DISK_ERRORS:
        return (
            f"the disk is full ({error.strerror}{where}): free some room and run the same command"
            " again"
        )
    return f"{error.strerror or error}{where}"


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Say of `--out` that it cannot be written, where that is so."""
    try:
        yield
    except OSError as error:
        raise UserError(f"`--out {out}` cannot be written: {error.strerror}") from error


def positive_int(text: str) -> int:
    """An argument type: a whole number of at least 1."""
    value = int(text)
    if not 1 <= value <= LARGEST:
        rule = "at least 1" if value < 1 else f"at most {LARGEST}"
        raise argparse.ArgumentTypeError(
            f"{value} is too {'small' if value < 1 else 'large'}: it has to be {rule}"
        )
    return value


def comma_list(text: str) -> tuple[str, ...]:
    """An argument type: names separated by commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("it is empty: name at least one")
    return names


def check_names(flag: str, given: Iterable[str], known: Collection[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        UserError: with the names to choose from.
    """
    for name in given:
        if name not in known:
            raise UserError(f"`{flag}` has `{name}`: choose among {', '.join(known)}")


def int_list(text: str) -> tuple[int, ...]:
    """An argument type: whole numbers of at least 1, separated by commas."""
    return tuple(positive_int(name) for name in comma_list(text))


def int_or_zero_list(text: str) -> tuple[int, ...]:
    """An argument type: whole numbers of at least 0, separated by commas."""
    return tuple(0 if name == "0" else positive_int(name) for name in comma_list(text))
