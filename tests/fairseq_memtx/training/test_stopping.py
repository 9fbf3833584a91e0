"""A signal saves what was learnt, and training goes on from there as if nothing had happened."""

import hashlib
import os
import signal
import threading
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
from fairseq_memtx.ground.interruptions import noticed
from fairseq_memtx.training import signal_watch
from fairseq_memtx.training.stopping import stop_request
from tests.choosing import some
from tests.fairseq_memtx.checkpoint_files import updates_in
from tests.fairseq_memtx.ranks import ended, processes_of
from tests.fairseq_memtx.tiny_training import make_data, rank_config, run_rank

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


@pytest.mark.parametrize(
    "signum", some([signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGUSR2], 2)
)
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


def wait_for_a_rank(rank: int, cfg: Any, mark: Path) -> None:
    """Rank 1 never comes to the second update, in whose exchange rank 0 waits for it."""
    around, calls = Trainer.train_step, []

    def late(trainer: Trainer, *args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == 2 and rank == 1:
            time.sleep(1000)
        if len(calls) == 2:
            mark.touch()
        return around(trainer, *args, **kwargs)

    Trainer.train_step = late
    run_rank(rank, cfg)


@pytest.mark.parametrize(
    ("first", "second"),
    some([(signal.SIGTERM, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)], 2),
)
def test_a_second_signal_ends_a_rank_that_waits_for_another(
    first: int, second: int, tmp_path: Path
) -> None:
    data, mark = make_data(tmp_path / "data"), tmp_path / "mark"
    cfg = rank_config(data, tmp_path / "save", "--max-update", "4", "--disable-validation")
    with processes_of(wait_for_a_rank, 2, cfg, mark) as (waiting, _):
        deadline = time.monotonic() + 120
        while not mark.exists():
            assert time.monotonic() < deadline and waiting.is_alive()
            time.sleep(0.1)
        time.sleep(1)
        assert waiting.pid is not None
        os.kill(waiting.pid, first)
        assert ended([waiting], 2) == [None]
        os.kill(waiting.pid, second)
        assert ended([waiting], signal_watch.GRACE_SECONDS + 10) == [128 + second]


def test_after_training_nobody_is_ended(
    fairseq_train: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two signals that come while the process is in a long instruction of its own."""
    ended_with: list[int] = []
    monkeypatch.setattr(signal_watch, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(os, "_exit", ended_with.append)
    fairseq_train("--max-update", "1", "--disable-validation")

    def send() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)  # two that come at once may be delivered as one

    threading.Timer(0.1, send).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2_000_000)
    assert time.monotonic() - started > 0.3, "the instruction must last"
    assert ended_with == []


def test_after_training_a_signal_is_answered_as_before(
    fairseq_train: Callable[..., None],
) -> None:
    fairseq_train("--max-update", "1", "--disable-validation")
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert stop_request.signum == 0


def test_one_that_was_asked_first_answers_as_before_too() -> None:
    """A translator puts a handler before ours, and puts ours back when its work ends."""
    usual = signal.getsignal(signal.SIGINT)
    stop_request.listen()
    ours = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), noticed(None):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == ours
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is usual


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
