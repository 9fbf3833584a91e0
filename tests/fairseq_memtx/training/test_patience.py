"""`--patience` stops at the same update, however often the training was interrupted before."""

from pathlib import Path

import pytest
from fairseq.trainer import Trainer
from fairseq_cli import train

from fairseq_memtx.training import patience
from tests.fairseq_memtx.tiny_training import (
    assert_same_training,
    load,
    make_data,
    run_training,
)

#: So fast that the loss soon rises; all validations are saved.
FLAGS = ["--lr", "1.0", "--patience", "3", "--max-epoch", "30", "--max-tokens", "200"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("patience") / "data", train_pairs=24)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that stops by itself."""
    folder = tmp_path_factory.mktemp("whole")
    run_training(data, folder, *FLAGS)
    return folder


def epochs_in(folder: Path) -> list[int]:
    """The epochs that were saved, in order."""
    names = [path.stem.removeprefix("checkpoint") for path in folder.glob("checkpoint*.pt")]
    return sorted(int(name) for name in names if name.isdigit())


def test_the_training_stops_by_itself(whole: Path) -> None:
    last = epochs_in(whole)[-1]
    assert 3 < last < 30
    assert load(whole / "checkpoint_last.pt")["extra_state"][patience.KEY]["num_runs"] == 3


@pytest.mark.slow
def test_an_interrupted_training_stops_at_the_same_update(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    """Begun anew after each of the last epochs, as after a kill."""
    last = epochs_in(whole)[-1]
    run_training(data, tmp_path, *FLAGS, "--max-epoch", str(last - 2))
    run_training(data, tmp_path, *FLAGS, "--max-epoch", str(last - 1))
    run_training(data, tmp_path, *FLAGS)
    assert epochs_in(tmp_path) == epochs_in(whole)
    assert_same_training(whole / "checkpoint_last.pt", tmp_path / "checkpoint_last.pt")


def test_a_stopped_training_stays_stopped(data: Path, whole: Path, caplog) -> None:
    before = (whole / "checkpoint_last.pt").read_bytes()
    with caplog.at_level("INFO"):
        run_training(data, whole, *FLAGS)
    assert "this training has stopped before" in caplog.text
    assert (whole / "checkpoint_last.pt").read_bytes() == before


@pytest.mark.slow
def test_more_patience_goes_on(data: Path, whole: Path, tmp_path: Path) -> None:
    run_training(data, tmp_path, *FLAGS)
    run_training(data, tmp_path, *FLAGS, "--patience", "5")
    assert epochs_in(tmp_path)[-1] > epochs_in(whole)[-1]


def test_another_training_of_the_process_begins_anew(data: Path, whole: Path, tmp_path) -> None:
    run_training(data, whole, *FLAGS)  # leaves its count
    run_training(data, tmp_path, *FLAGS, "--max-epoch", "1")
    count = load(tmp_path / "checkpoint_last.pt")["extra_state"][patience.KEY]
    assert count["num_runs"] == 0


@pytest.mark.slow
def test_defect_fairseq_forgets_the_count(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails once fairseq saves the count itself."""
    for name in ("save_checkpoint", "load_checkpoint"):
        monkeypatch.setattr(Trainer, name, getattr(Trainer, name).__wrapped__)
    last = epochs_in(whole)[-1]
    for limit in (str(last - 1), "30"):
        for attribute in ("best", "num_runs"):  # as in a process of its own
            vars(train.should_stop_early).pop(attribute, None)
        run_training(data, tmp_path, *FLAGS, "--max-epoch", limit)
    assert epochs_in(tmp_path)[-1] != last
