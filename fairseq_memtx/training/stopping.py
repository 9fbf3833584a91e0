"""Lets SIGTERM and SIGINT save `checkpoint_last.pt` and end training with code 128 + signal.

Stock fairseq dies at once and loses the work since its last save. When the step was the last of an
epoch, or one of validation, that epoch's validation is left out. May go once fairseq saves on
signals itself.
"""

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..repairs.wrapping import when_undone, wrap

logger = logging.getLogger(__name__)


def apply() -> None:
    """Wrap the trainer's steps, and what begins an epoch."""
    from fairseq.trainer import Trainer

    wrap(Trainer, "get_train_iterator", _remember_iterator)
    wrap(Trainer, "train_step", _step_then_stop)
    wrap(Trainer, "valid_step", _step_then_stop)
    when_undone(stop_request.ignore)


class StopRequest:
    """A SIGTERM or SIGINT that is answered after the step under way; a second one acts at once.

    When no training is under way, the first one acts at once too.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._previous: dict[int, Any] = {}
        self._pid = 0

    def listen(self) -> None:
        """Take over both signals. Only a process's main thread can: elsewhere nothing happens."""
        if self._previous and self._pid == os.getpid():
            return
        with contextlib.suppress(ValueError):
            self._pid = os.getpid()
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._previous[signum] = signal.signal(signum, self._note)

    def ignore(self) -> None:
        """Give both signals back to whoever had them."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a data loader's worker: its parent ends it
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        self.ignore()
        if not _in_training(frame):  # an earlier training of this process left us in charge
            signal.raise_signal(signum)
            return
        self.signum = signum
        # Not by logging: the signal may have come in the middle of a write to the same stream.
        name = signal.Signals(signum).name
        notice = f"{name}: saving and stopping after this step; once more stops without saving\n"
        os.write(2, notice.encode())

    def agreed(self, trainer: Any) -> int:
        """The signal's number or 0, the same on every rank, so that all stop at one update."""
        if trainer.data_parallel_world_size == 1:
            return self.signum
        import torch
        from fairseq.distributed import utils as distributed_utils

        number = torch.tensor([self.signum], device=trainer.device)
        group = trainer.data_parallel_process_group
        return int(distributed_utils.all_reduce(number, group, op="max").item())


stop_request = StopRequest()


def _in_training(frame: FrameType | None) -> bool:
    """Whether fairseq's training is among the callers of the code that a signal interrupted."""
    training = os.path.join("fairseq_cli", "train.py")
    while frame is not None:
        if frame.f_code.co_name == "main" and frame.f_code.co_filename.endswith(training):
            return True
        frame = frame.f_back
    return False


def _remember_iterator(stock: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    # Before the data loader's workers start, which would die of a Ctrl-C that we answer later.
    stop_request.listen()
    trainer.memtx_iterator = stock(trainer, *args, **kwargs)
    return trainer.memtx_iterator


def _step_then_stop(stock: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    logged = stock(trainer, *args, **kwargs)
    signum = stop_request.agreed(trainer)
    if signum:
        _save_and_exit(trainer, signum)
    return logged


def _save_and_exit(trainer: Any, signum: int) -> None:
    from fairseq import checkpoint_utils

    stop_request.signum = 0
    cfg = trainer.cfg.checkpoint
    checkpoint_utils.save_checkpoint(cfg, trainer, trainer.memtx_iterator, None)
    if cfg.no_save or cfg.no_last_checkpoints:
        outcome = "nothing was saved, as --no-save or --no-last-checkpoints asks"
    else:
        outcome = "the same command goes on from there"
    logger.warning("stopped at update %d: %s", trainer.get_num_updates(), outcome)
    raise SystemExit(128 + signum)
