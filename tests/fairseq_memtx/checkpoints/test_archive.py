"""A damaged file is told from a whole one, and what is not told changes nothing."""

import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_memtx import checkpoints
from fairseq_memtx.checkpoints import archive
from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.tiny_training import assert_equal


@pytest.fixture(scope="module", params=["float", "int8"])
def good(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint, some numbers of it in eight bits."""
    torch.manual_seed(1)
    weights = {f"w{i}": torch.randn(40, 30) for i in range(8)}
    if request.param == "int8":
        weights = {name + ".weight_int8": w.mul(40).to(torch.int8) for name, w in weights.items()}
    state = {"args": None, "model": weights, "optimizer_history": [{"num_updates": 3}]}
    path = tmp_path_factory.mktemp("good") / f"{request.param}.pt"
    torch.save({**state, "extra_state": {"val_loss": np.float64(2.5)}}, path)
    return path


def test_a_flipped_bit_is_told_or_changes_nothing(good: Path, tmp_path: Path) -> None:
    whole, content = checkpoints.load(good), good.read_bytes()
    random_bits, told = random.Random(1), 0
    for number in range(300):
        flipped = bytearray(content)
        bit = random_bits.randrange(8 * len(content))
        flipped[bit // 8] ^= 1 << bit % 8
        path = tmp_path / f"{number}.pt"
        path.write_bytes(flipped)
        try:
            found = checkpoints.load(path)
        except UserError as error:
            told += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert_equal(found, whole)
        path.unlink()
    assert told > 250


def test_torch_alone_takes_a_flipped_bit(good: Path, tmp_path: Path) -> None:
    """A negative control; once torch compares checksums we need not."""
    content = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as source:
        largest = max(source.infolist(), key=lambda part: part.file_size)
    content[largest.header_offset + 600] ^= 4
    (tmp_path / "flipped.pt").write_bytes(content)
    torch.load(tmp_path / "flipped.pt")
    assert "checksum" in str(archive.problem(tmp_path / "flipped.pt"))


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
def test_a_cut_file_is_told(share: float, good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: int(share * len(content))])
    assert "is no whole checkpoint" in str(archive.problem(tmp_path / "cut.pt"))


def test_a_file_is_read_once(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert archive.problem(good) is None

    def again(*args: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(archive, "_check_zip", again)
    assert archive.problem(good) is None
    os.utime(good, ns=(1, 1))
    with pytest.raises(AssertionError, match="read again"):
        archive.problem(good)


def test_files_of_old_torch_are_read(tmp_path: Path) -> None:
    state = {"model": {"w": torch.arange(5.0)}, "extra_state": {"val_loss": 1.0}}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert checkpoints.load(tmp_path / "old.pt")["model"]["w"].tolist() == [0, 1, 2, 3, 4]


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("pipe", "not a regular file"), ("none", "there is no checkpoint")):
        with pytest.raises(UserError, match=message):
            checkpoints.load(tmp_path / name)
    with pytest.raises(UserError, match="is a folder"):
        checkpoints.load(tmp_path)
