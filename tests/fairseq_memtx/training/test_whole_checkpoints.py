"""A checkpoint is whole or not there, whatever happens while it is written."""

import os
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.checkpoint_files import full_disk

repairs.apply()


def test_an_interrupted_copy_leaves_the_old_file(tmp_path: Path) -> None:
    source, last = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_last.pt"
    source.write_bytes(b"n" * 5000)
    last.write_bytes(b"old")
    with full_disk(after=1000), pytest.raises(UserError, match=r"checkpoint_last.pt` could not"):
        PathManager.copy(str(source), str(last), overwrite=True)
    assert last.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, last.name]


def test_a_copy_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(3 << 20))
    assert PathManager.copy(str(tmp_path / "a"), str(tmp_path / "b"), overwrite=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_defect_fairseq_copies_over_the_old_file(tmp_path: Path) -> None:
    source, last = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_last.pt"
    source.write_bytes(b"n" * 5000)
    last.write_bytes(b"old")
    with full_disk(after=1000), pytest.raises(OSError):
        PathManager.copy.__wrapped__(str(source), str(last), overwrite=True)
    assert last.read_bytes() != b"old"


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_last.pt"
    checkpoint_utils.torch_persistent_save({"a": torch.ones(2)}, str(path))
    with full_disk(after=1000), pytest.raises(UserError, match=r"last.pt` could not be written"):
        checkpoint_utils.torch_persistent_save({"a": torch.zeros(5000)}, str(path))
    assert torch.load(path)["a"].tolist() == [1, 1]
    assert list(tmp_path.iterdir()) == [path]


def test_defect_fairseq_leaves_half_a_file_when_a_save_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_utils.time, "sleep", lambda seconds: None)
    path = tmp_path / "checkpoint_last.pt"
    with full_disk(after=1000), pytest.raises((RuntimeError, OSError)):
        stock = checkpoint_utils.torch_persistent_save.__wrapped__
        stock({"a": torch.zeros(5000)}, str(path))
    assert [left.name for left in tmp_path.iterdir()] == ["checkpoint_last.pt.tmp"]
