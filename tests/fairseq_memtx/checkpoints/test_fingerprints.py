"""Binarised files are those that data_prep wrote, or the training does not start."""

import shutil
from pathlib import Path

import pytest

from fairseq_memtx.checkpoints import fingerprints
from fairseq_memtx.ground.errors import UserError


@pytest.fixture
def data(prepared_sample: Path, tmp_path: Path) -> Path:
    """A copy, whose files have other times than data_prep noted."""
    shutil.copytree(prepared_sample, tmp_path / "data")
    for path in (tmp_path / "data" / "bin").iterdir():
        path.touch()
    return tmp_path / "data" / "bin"


def test_what_is_as_it_was_written_is_taken(data: Path, prepared_sample: Path) -> None:
    fingerprints.check_split(data, "train")
    fingerprints.check_split(prepared_sample / "bin", "train")
    fingerprints.check_split(data, "none")


@pytest.mark.parametrize("name", ["train.en-de.de.bin", "train.en-de.en.idx"])
@pytest.mark.parametrize("how", ["zeroed", "cut", "missing"])
def test_what_was_changed_is_refused(name: str, how: str, data: Path) -> None:
    path = data / name
    content = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(bytes(len(content)) if how == "zeroed" else content[:-1])
    with pytest.raises(UserError, match=name):
        fingerprints.check_split(data, "train")
    fingerprints.check_split(data, "valid")


def test_unchanged_files_are_not_read_again(
    prepared_sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> str:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr(fingerprints, "sha256_of", read)
    fingerprints.check_split(prepared_sample / "bin", "train")
