"""Checkpoints of all decoders, and the folders that they are exported to."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_memtx.commands import export
from tests.checkpoints import write_checkpoint, write_scattered

DECODERS = ("transformer", "feedback", "transformer-xl", "compressive")


@pytest.fixture(scope="session")
def scattered(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each decoder whose translations differ."""
    folder = tmp_path_factory.mktemp("scattered")
    found = {}
    for decoder in DECODERS:
        path = write_checkpoint(prepared_sample / "bin", folder / f"{decoder}.pt", decoder, 2)
        found[decoder] = write_scattered(path, path)
    return found


@pytest.fixture(scope="session")
def shortlist(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the sample's words."""
    from fairseq_memtx.commands import shortlist

    path = tmp_path_factory.mktemp("shortlist") / "list.npz"
    data = str(prepared_sample / "bin")
    assert shortlist.main([data, "--out", str(path), "--frequent", "60"]) == 0
    return path


@pytest.fixture(scope="session")
def folders(
    scattered: dict[str, Path], shortlist: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folder of each decoder, with a shortlist and a search of its own."""
    parent = tmp_path_factory.mktemp("folders")
    for decoder, checkpoint in scattered.items():
        words = [str(checkpoint), "--out", str(parent / decoder), "--shortlist", str(shortlist)]
        assert export.main([*words, "--beam", "3", "--max-len-a", "0", "--max-len-b", "20"]) == 0
    return {decoder: parent / decoder for decoder in scattered}


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A folder of a decoder that may be damaged."""
    return lambda decoder: shutil.copytree(folders[decoder], tmp_path / decoder)
