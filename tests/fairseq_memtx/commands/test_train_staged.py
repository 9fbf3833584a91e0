"""Training in parallel first: which commands are run, when, and that the switch works."""

import json
from pathlib import Path

import pytest
import torch

from fairseq_memtx.commands import train_staged
from fairseq_memtx.ground import shell


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command lines that would have been run."""
    lines: list[str] = []
    monkeypatch.setattr(
        train_staged,
        "run",
        lambda stage, command, threads: lines.append(shell.shell_line(command)),
    )
    return lines


def parse(save_dir: Path, *flags: str):
    argv = ["bin", "--save-dir", str(save_dir), "--parallel-updates", "30", *flags]
    return train_staged.parse_args([*argv, "--train-args", "--max-update", "99", "--cpu"])


def save(path: Path, updates: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": {}, "optimizer_history": [{"num_updates": updates}]}, path)


def test_two_trainings_the_second_from_the_first(ran: list[str], tmp_path: Path) -> None:
    extra = ["--parallel-args", "--decoder-layers 6", "--memory-args", "--decoder-layers 1"]
    train_staged.train(parse(tmp_path, *extra))
    first, second = ran
    assert "--arch transformer" in first and first.endswith("--decoder-layers 6 --max-update 30")
    assert "--memtx-init-from" not in first
    assert "--arch memtx_feedback" in second and second.endswith("--decoder-layers 1")
    assert "--memtx-init-from checkpoint_last.pt --max-update 99" in second


@pytest.mark.parametrize(
    "saved, runs",
    [
        ({"parallel/checkpoint_last.pt": 29}, ["transformer", "memtx_feedback"]),
        ({"parallel/checkpoint_last.pt": 30}, ["memtx_feedback"]),
        ({"checkpoint_last.pt": 5}, ["memtx_feedback"]),
    ],
)
def test_it_goes_on_where_it_was(
    saved: dict[str, int], runs: list[str], ran: list[str], tmp_path: Path
) -> None:
    for name, updates in saved.items():
        save(tmp_path / name, updates)
    train_staged.train(parse(tmp_path))
    assert [line.split("--arch ")[1].split()[0] for line in ran] == runs


@pytest.mark.slow
def test_the_switch_on_the_sample(prepared_sample: Path, tmp_path: Path) -> None:
    sizes = "--encoder-layers 1 --decoder-layers 2 --share-all-embeddings"
    for side in ("encoder", "decoder"):
        sizes += f" --{side}-embed-dim 16 --{side}-ffn-embed-dim 16 --{side}-attention-heads 2"
    flags = f"{sizes} --optimizer adam --lr 1e-3 --max-tokens 500 --max-update 4 --cpu"
    argv = [str(prepared_sample / "bin"), "--save-dir", str(tmp_path), "--parallel-updates", "2"]
    once = "--memory-args=--decoder-layers 1"
    args = train_staged.parse_args([*argv, once, "--train-args", *flags.split()])
    train_staged.train(args)
    assert train_staged.updates_of(tmp_path / "parallel" / "checkpoint_last.pt") == 2
    assert train_staged.updates_of(tmp_path / "checkpoint_last.pt") == 4
    assert json.loads((tmp_path / "warm_start.json").read_text())["layers"] == [1]
