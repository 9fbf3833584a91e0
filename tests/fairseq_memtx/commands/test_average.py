"""Averaging: exact, in the right direction, and never half-written."""

from pathlib import Path

import pytest
import torch

from fairseq_memtx import checkpoints
from fairseq_memtx.commands import average
from fairseq_memtx.ground.errors import UserError


def save(
    folder: Path, name: str, updates: int, weight: torch.Tensor, score=None, maximize=False
) -> Path:
    path = folder / name
    state = {
        "args": None,
        "cfg": {"checkpoint": {"maximize_best_checkpoint_metric": maximize}},
        "model": {"w": weight, "steps": torch.tensor(updates)},
        "optimizer_history": [{"num_updates": updates}],
        "extra_state": {"val_loss": score, "previous_training_time": float(updates)},
        "last_optimizer_state": {"large": torch.zeros(1000)},
    }
    torch.save(state, path)
    return path


def test_mean_is_exact_and_keeps_the_type() -> None:
    one, two, three = (torch.tensor([x, 0.1], dtype=torch.float16) for x in (1.0, 2.0, 6.0))
    mean = average.average_states([{"w": one}, {"w": two}, {"w": three}])["w"]
    assert mean.dtype is torch.float16
    assert torch.equal(mean, torch.tensor([3.0, 0.1], dtype=torch.float16))


def test_mean_of_equal_states_is_that_state() -> None:
    state = {"w": torch.randn(50)}
    assert torch.equal(average.average_states([state] * 7)["w"], state["w"])


def test_mean_accumulates_beyond_float32() -> None:
    large, small = torch.tensor([2.0**24]), torch.tensor([1.0])
    mean = average.average_states([{"w": t} for t in (large, small, small, -large)])["w"]
    assert mean.item() == 0.5  # float32 would lose both small terms


def test_integers_are_taken_from_the_last() -> None:
    mean = average.average_states([{"n": torch.tensor(3)}, {"n": torch.tensor(8)}])["n"]
    assert mean.item() == 8


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"v": torch.zeros(2)}, "`v` is in one only"),
        ({"w": torch.zeros(3)}, r"shape of `w`: \(2,\) and \(3,\)"),
    ],
)
def test_different_models_are_refused(other: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        average.average_states([{"w": torch.zeros(2)}, other])


def test_last_counts_updates_not_names_or_copies(tmp_path: Path) -> None:
    for name, updates in (("checkpoint9.pt", 9), ("checkpoint10.pt", 10), ("checkpoint8.pt", 8)):
        save(tmp_path, name, updates, torch.tensor([float(updates)]))
    save(tmp_path, "checkpoint_last.pt", 10, torch.tensor([10.0]))
    save(tmp_path, "checkpoint_best.pt", 1, torch.tensor([99.0]))
    out = tmp_path / "averaged.pt"
    found = average.average([tmp_path], out, last=2)
    assert found["updates"] == [9, 10]
    assert found["training_seconds"] == 10.0
    state = checkpoints.load(out)
    assert state["model"]["w"].item() == 9.5
    assert state["last_optimizer_state"] is None


@pytest.mark.parametrize(("maximize", "expected"), [(False, [1, 3]), (True, [4, 2])])
def test_best_follows_the_direction_of_the_metric(tmp_path, maximize, expected) -> None:
    for updates, score in ((1, 2.0), (2, 5.0), (3, 3.0), (4, 7.0)):
        name = f"checkpoint.best_x_{score:.3f}0.pt"
        save(tmp_path, name, updates, torch.zeros(1), score, maximize)
    assert average.average([tmp_path], tmp_path / "out.pt", best=2)["updates"] == expected


def test_too_few_checkpoints_are_refused_unless_allowed(tmp_path: Path) -> None:
    save(tmp_path, "checkpoint1.pt", 1, torch.zeros(1))
    with pytest.raises(UserError, match="there are 1 checkpoints to average instead of 3"):
        average.average([tmp_path], tmp_path / "out.pt", last=3)
    assert average.average([tmp_path], tmp_path / "out.pt", last=3, fewer=True)["updates"] == [1]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = save(tmp_path, "checkpoint1.pt", 1, torch.zeros(1))
    out = tmp_path / "out.pt"
    out.write_bytes(b"old")

    def full_disk(*args, **kwargs) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        average.average([path], out)
    assert out.read_bytes() == b"old"
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("kind", ["missing", "cut", "text", "code"])
def test_unusable_checkpoints_end_in_one_line(tmp_path: Path, capsys, kind: str) -> None:
    path = save(tmp_path, "checkpoint1.pt", 1, torch.zeros(1))
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "text":
        path.write_text("not a checkpoint")
    else:
        torch.save({"model": {}, "run": Harmful()}, path)
    out = tmp_path / "out.pt"
    assert average.main([str(path), "--out", str(out)]) == 1
    errors = capsys.readouterr().err.split("\n")
    assert (
        len([line for line in errors if line.startswith("error: ") and "checkpoint" in line]) == 1
    )
    assert "Traceback" not in "".join(errors)
    assert not out.exists()


class Harmful:
    """Would run code if it were unpickled."""

    def __reduce__(self):
        return print, ("code of a checkpoint was run",)


def test_a_folder_needs_a_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`--last` or `--best`"):
        average.average([tmp_path], tmp_path / "out.pt")
