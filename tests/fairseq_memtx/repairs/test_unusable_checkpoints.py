"""A checkpoint that cannot be used is named in one line."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils

from fairseq_memtx import repairs
from fairseq_memtx.checkpoints import archive
from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.checkpoint_files import cut

repairs.apply()


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
def test_a_cut_short_checkpoint_is_named_in_one_line(share: float, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_best.pt"
    torch.save({"args": argparse.Namespace(), "model": torch.zeros(9000)}, path)
    assert archive.problem(path) is None
    cut(path, share)
    assert archive.problem(path) is not None
    with pytest.raises(UserError, match=r"checkpoint_best.pt` is no whole checkpoint") as caught:
        checkpoint_utils.load_model_ensemble_and_task([str(path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"Ein Satz.\n", b"text\n", b"\x00\x01\x02", b"[1, 2]"])
def test_a_file_that_is_no_checkpoint_is_named_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"text.pt` is no whole checkpoint"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


def test_a_checkpoint_of_old_torch_is_not_taken_for_cut_short(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert archive.problem(tmp_path / "old.pt") is None


def test_defect_fairseq_does_not_name_a_cut_short_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_utils, "torch", torch)
    path = tmp_path / "checkpoint_best.pt"
    torch.save({"model": torch.zeros(9000)}, path)
    cut(path)
    with pytest.raises((RuntimeError, OSError)) as caught:
        checkpoint_utils.load_checkpoint_to_cpu.__wrapped__(str(path))
    assert "checkpoint_best.pt" not in str(caught.value)


def test_a_missing_checkpoint_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no checkpoint `.*none.pt`"):
        checkpoint_utils.load_model_ensemble_and_task([str(tmp_path / "none.pt")])


def test_a_checkpoint_of_another_size_is_explained(
    fairseq_train: Callable[..., None], tmp_path: Path
) -> None:
    fairseq_train("--max-update", "1", "--disable-validation")
    with pytest.raises(UserError, match=r"_last.pt` does not fit.*embed_tokens.weight.*more\)"):
        fairseq_train("--max-update", "2", "--encoder-embed-dim", "32")
    path = str(tmp_path / "checkpoint_last.pt")
    with pytest.raises(UserError, match=r"_last.pt` does not fit.*encoder\.layers\.\d"):
        checkpoint_utils.load_model_ensemble([path], arg_overrides={"encoder_layers": 3})
