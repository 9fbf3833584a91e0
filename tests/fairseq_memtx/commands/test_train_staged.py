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
    "first, start",
    [("transformer", "--memtx-init-from"), ("memtx_transformer_xl", "--finetune-from-model")],
)
def test_documents_come_after_sentences(
    first: str, start: str, ran: list[str], tmp_path: Path
) -> None:
    flags = ["--documents", "--parallel-arch", first, "--arch", "memtx_transformer_xl"]
    train_staged.train(parse(tmp_path, *flags))
    sentences, documents = ran
    assert "--task memtx_translation" in sentences and f"--arch {first}" in sentences
    assert "--task memtx_document_translation --arch memtx_transformer_xl" in documents
    assert f"{start} checkpoint_last.pt" in documents


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


@pytest.mark.slow
def test_documents_on_the_sample(prepared_sample: Path, tmp_path: Path) -> None:
    flags = "--memtx-segment-len 16 --memtx-mem-len 64 --encoder-layers 1 --decoder-layers 1"
    for side in ("encoder", "decoder"):
        flags += f" --{side}-embed-dim 16 --{side}-ffn-embed-dim 16 --{side}-attention-heads 2"
    flags += " --optimizer adam --lr 1e-3 --max-tokens 500 --max-update 4 --cpu"
    argv = [str(prepared_sample / "bin"), "--save-dir", str(tmp_path), "--parallel-updates", "2"]
    archs = [
        "--documents",
        *(f"--{kind}=memtx_transformer_xl" for kind in ("arch", "parallel-arch")),
    ]
    args = train_staged.parse_args([*argv, *archs, "--train-args", *flags.split()])
    for _ in range(2):  # the second time nothing is left to do
        train_staged.train(args)
        assert train_staged.updates_of(tmp_path / "parallel" / "checkpoint_last.pt") == 2
        assert train_staged.updates_of(tmp_path / "checkpoint_last.pt") == 4
