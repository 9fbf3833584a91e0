"""A signal saves what was learnt, and training goes on from there as if nothing had happened."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import utils
from fairseq.trainer import Trainer
from fairseq_cli import train

from fairseq_memtx import repairs
from fairseq_memtx.training.stopping import stop_request
from tests.fairseq_memtx.checkpoint_files import updates_in

repairs.apply()


@pytest.fixture
def signal_during(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Send this process a signal in the middle of the n-th call of a method of the trainer."""

    def arrange(method: str, nth: int, signum: int) -> None:
        around, calls = getattr(Trainer, method), []

        def counted(trainer: Trainer, *args: Any, **kwargs: Any) -> Any:
            calls.append(None)
            if len(calls) == nth:
                os.kill(os.getpid(), signum)
            return around(trainer, *args, **kwargs)

        monkeypatch.setattr(Trainer, method, counted)

    yield arrange
    stop_request.ignore()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_rest_is_as_if_uninterrupted(
    signum: int,
    fairseq_train: Callable[..., None],
    signal_during: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last, steps = tmp_path / "checkpoint_last.pt", ["--max-update", "8", "--disable-validation"]
    fairseq_train(*steps)
    uninterrupted = torch.load(last)
    last.unlink()

    signal_during("train_step", 3, signum)
    with pytest.raises(SystemExit) as stopped:
        fairseq_train(*steps)
    assert stopped.value.code == 128 + signum
    assert updates_in(last) == 3

    fairseq_train(*steps)
    resumed = torch.load(last)
    assert resumed["optimizer_history"][-1] == uninterrupted["optimizer_history"][-1]
    assert all(torch.equal(resumed["model"][k], v) for k, v in uninterrupted["model"].items())


def test_a_signal_during_validation_saves_at_once(
    fairseq_train: Callable[..., None], signal_during: Callable[..., None], tmp_path: Path
) -> None:
    signal_during("valid_step", 1, signal.SIGTERM)
    with pytest.raises(SystemExit):
        fairseq_train("--max-epoch", "2")
    assert updates_in(tmp_path / "checkpoint_last.pt") == 12


def test_a_second_signal_is_answered_as_before(
    fairseq_train: Callable[..., None], signal_during: Callable[..., None]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal_during("train_step", 1, signal.SIGTERM)
    with pytest.raises(SystemExit):
        fairseq_train("--max-update", "2", "--disable-validation")
    assert signal.getsignal(signal.SIGTERM) == before


def test_after_training_a_signal_is_answered_as_before(
    fairseq_train: Callable[..., None],
) -> None:
    fairseq_train("--max-update", "1", "--disable-validation")
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert stop_request.signum == 0


def test_nothing_is_claimed_saved_with_no_save(
    fairseq_train: Callable[..., None],
    signal_during: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal_during("train_step", 2, signal.SIGTERM)
    with pytest.raises(SystemExit):
        fairseq_train("--max-update", "8", "--disable-validation", "--no-save")
    assert "nothing was saved" in caplog.text
    assert not list(tmp_path.glob("*.pt"))


def test_defect_fairseq_answers_no_signal() -> None:
    code = [train.train, train.main, Trainer.train_step.__wrapped__, utils.import_user_module]
    assert not any("signal" in function.__code__.co_names for function in code)
