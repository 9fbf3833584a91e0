"""A checkpoint that cannot be written says why."""

import errno
from pathlib import Path

import pytest
import torch

from fairseq_memtx.checkpoints.saving import save
from fairseq_memtx.commands import average, quantize
from tests.fairseq_memtx.checkpoint_files import full_disk

STATE = {"model": {"weight": torch.zeros(5000)}}


def test_the_error_is_the_system_s(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with (
        full_disk(after=1000),
        path.open("wb", buffering=0) as file,
        pytest.raises(OSError) as told,
    ):
        save(STATE, file)
    assert told.value.errno == errno.EFBIG
    with path.open("wb") as file:
        save(STATE, file)
    assert torch.load(path, weights_only=True)["model"]["weight"].numel() == 5000


def test_defect_torch_hides_it(tmp_path: Path) -> None:
    """Fails once torch lets the file system's error through; then `save` may go."""
    file = (tmp_path / "model.pt").open("wb", buffering=0)
    with full_disk(after=1000), file, pytest.raises(RuntimeError, match="unexpected pos"):
        torch.save(STATE, file)


@pytest.mark.parametrize("command", [average, quantize], ids=["average", "quantize"])
def test_commands_tell_of_a_full_disk_in_one_line(
    command, tiny_checkpoints: dict[str, Path], prepared_sample: Path, tmp_path: Path, capsys
) -> None:
    words = [str(tiny_checkpoints["feedback"]), "--out", str(tmp_path / "new.pt")]
    words += [] if command is average else ["--data", str(prepared_sample / "bin")]
    with full_disk(after=1000):
        assert command.main(words) == 1
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert told.startswith("error: ") and "File too large" in told
    assert list(tmp_path.iterdir()) == []
