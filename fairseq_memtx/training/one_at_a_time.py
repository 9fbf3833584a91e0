"""Lets one training at a time use a folder of checkpoints, and says why none can.

Two trainings in one folder overwrite each other's checkpoints, and stock fairseq starts both: after
a kill, the restart meets what still runs. Where the folder cannot be written, stock ends in a
traceback. May go once fairseq holds a lock there, and says so in one line.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ..ground.errors import UserError
from ..ground.writing import open_locked
from ..repairs.wrapping import wrap

logger = logging.getLogger(__name__)

NAME = "training.lock"
#: A training that was asked to stop saves first.
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.2

#: Locks of this process, by its number and the folder: held until it ends, however it ends.
_held: dict[tuple[int, str], BinaryIO] = {}


def apply() -> None:
    """Wrap what looks at the folder before a training; rank 0 does it."""
    from fairseq import checkpoint_utils

    wrap(checkpoint_utils, "verify_checkpoint_directory", _verify_and_hold)


def _verify_and_hold(stock: Callable[..., Any], save_dir: str) -> None:
    try:
        stock(save_dir)
    except OSError as error:
        raise UserError(f"--save-dir `{save_dir}` cannot be written: {error.strerror}") from error
    hold(Path(save_dir))


def hold(folder: Path) -> None:
    """Hold the folder for this process; wait a little for another one to end.

    Raises:
        UserError: another process still holds it.
    """
    key = os.getpid(), str(folder.resolve())
    if key in _held:
        return
    busy = (
        f"`{folder}` is in use by another training: wait for its end, or give this one another"
        " --save-dir"
    )
    deadline, told = time.monotonic() + WAIT_SECONDS, False
    while True:
        try:
            _held[key] = open_locked(folder / NAME, busy)
            return
        except UserError:
            if time.monotonic() > deadline:
                raise
        if not told:
            logger.warning("%s is in use by another training: waiting for it to end", folder)
            told = True
        time.sleep(POLL_SECONDS)
