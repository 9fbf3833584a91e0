"""Lets signals save `checkpoint_last.pt` and end training with code 128 + signal.

SIGTERM and SIGINT, and the two that batch systems such as SLURM send before a job's time is over:
SIGUSR1 and SIGUSR2. Stock fairseq dies at once and loses the work since its last save. When the
step was the last of an epoch, or one of validation, that epoch's validation is left out. May go
once fairseq saves on signals itself.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..repairs.wrapping import when_undone, wrap
from .signal_watch import SignalWatch

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def apply() -> None:
    """Wrap the trainer's steps, and what begins an epoch."""
    from fairseq.trainer import Trainer

    wrap(Trainer, "get_train_iterator", _remember_iterator)
    wrap(Trainer, "train_step", _step_then_stop)
    wrap(Trainer, "valid_step", _step_then_stop)
    when_undone(stop_request.ignore)


class StopRequest:
    """A signal that is answered after the step under way; a second one acts at once.

    When no training is under way, the first one acts at once too.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._listens = False
        self._previous: dict[int, Any] = {}
        self._watch: SignalWatch | None = None
        self._pid = 0
        os.register_at_fork(after_in_child=self._forget_watch)

    def listen(self) -> None:
        """Take over the signals. Only a process's main thread can: elsewhere nothing happens."""
        if self._listens and self._pid == os.getpid():
            return
        with contextlib.suppress(ValueError):
            self._pid, self.signum = os.getpid(), 0
            for signum in SIGNALS:
                before = signal.signal(signum, self._note)
                if before != self._note:  # as it is in a child of one that listens
                    self._previous[signum] = before
            self._listens = True
            self._watch = SignalWatch(SIGNALS, _end_training)

    def ignore(self) -> None:
        """Give the signals back to whoever had them."""
        for signum, handler in self._previous.items():
            if signal.getsignal(signum) == self._note:  # else another stands before us
                signal.signal(signum, handler)
        self._listens, watch, self._watch = False, self._watch, None
        if watch is not None:
            watch.stop()

    def _forget_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.forget()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a data loader's worker: its parent ends it
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        # A second one; or an earlier training of this process left us in charge.
        if self.signum or not _in_training(frame):
            self.ignore()
            self._pass_on(signum, frame)
            return
        self.signum = signum
        # Not by logging: the signal may have come in the middle of a write to the same stream.
        name = signal.Signals(signum).name
        notice = f"{name}: saving and stopping after this step; once more stops without saving\n"
        os.write(2, notice.encode())

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        """Do what would be done without us."""
        usual = self._previous.get(signum)
        if callable(usual):
            usual(signum, frame)
        elif usual is not signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)

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


def _end_training(signum: int) -> None:
    """End the process, whose main thread answers nothing: it waits for other ranks, say."""
    if _in_training(sys._current_frames().get(threading.main_thread().ident or 0)):
        os.write(2, f"{signal.Signals(signum).name}, the second: stopping at once\n".encode())
        os._exit(128 + signum)


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

    cfg = trainer.cfg.checkpoint
    try:
        checkpoint_utils.save_checkpoint(cfg, trainer, trainer.memtx_iterator, None)
    finally:
        stop_request.ignore()
        stop_request.signum = 0
    if cfg.no_save or cfg.no_last_checkpoints:
        outcome = "nothing was saved, as --no-save or --no-last-checkpoints asks"
    else:
        outcome = "the same command goes on from there"
    logger.warning("stopped at update %d: %s", trainer.get_num_updates(), outcome)
    raise SystemExit(128 + signum)
