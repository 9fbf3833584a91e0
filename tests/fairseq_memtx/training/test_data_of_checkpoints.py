"""A checkpoint is used with the words that it was trained with, or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from fairseq_memtx import repairs
from fairseq_memtx.checkpoints import fingerprints
from fairseq_memtx.ground.errors import UserError
from tests.choosing import some

repairs.apply()

ONE = ("--max-update", "1", "--disable-validation")
TWO = ("--max-update", "2", "--disable-validation")


def with_two_lines_swapped(data: Path, folder: Path, language: str) -> Path:
    """A copy of the data whose dictionary has the same words in another order."""
    shutil.copytree(data, folder)
    path = folder / f"dict.{language}.txt"
    lines = path.read_text().split("\n")
    lines[0], lines[1] = lines[1], lines[0]
    path.write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize(("language", "side"), some([("de", "target"), ("en", "source")], 2))
def test_another_dictionary_of_the_same_size_is_refused(
    language: str,
    side: str,
    fairseq_train: Callable[..., None],
    binarised: Path,
    tmp_path: Path,
) -> None:
    fairseq_train(*ONE)
    other = with_two_lines_swapped(binarised, tmp_path / "other", language)
    message = rf"the {side} dictionary is not that which `.*checkpoint_last.pt` was trained with"
    with pytest.raises(UserError, match=message):
        fairseq_train(*TWO, data=other)
    path = str(tmp_path / "checkpoint_last.pt")
    with pytest.raises(UserError, match=message):
        checkpoint_utils.load_model_ensemble_and_task([path], {"data": str(other)})
    fairseq_train(*TWO)


def test_another_sentencepiece_model_is_refused(
    fairseq_train: Callable[..., None], binarised: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(binarised, data)
    (data / "sentencepiece.bpe.model").write_bytes(b"one model")
    fairseq_train(*ONE, data=data)
    (data / "sentencepiece.bpe.model").write_bytes(b"a second")
    with pytest.raises(UserError, match="the sentencepiece model is not that which"):
        fairseq_train(*TWO, data=data)


def test_other_text_steps_are_refused(
    fairseq_train: Callable[..., None], binarised: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(binarised, data)
    (data / "prepared.json").write_text('{"options": {"tokenizer": "none", "seed": 1}}')
    fairseq_train(*ONE, data=data)
    (data / "prepared.json").write_text('{"options": {"tokenizer": "none", "seed": 2}}')
    fairseq_train(*TWO, data=data)
    (data / "prepared.json").write_text('{"options": {"tokenizer": "moses"}}')
    with pytest.raises(UserError, match="the preparation of the text"):
        fairseq_train("--max-update", "3", "--disable-validation", data=data)


def test_older_checkpoints_are_taken_with_a_note(
    fairseq_train: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as older:
        older.setattr(Trainer, "state_dict", Trainer.state_dict.__wrapped__)
        fairseq_train(*ONE)
    assert "does not tell which dictionaries" not in caplog.text
    fairseq_train(*TWO)
    assert "checkpoint_last.pt does not tell which dictionaries" in caplog.text
    assert fingerprints.held(torch.load(tmp_path / "checkpoint_last.pt")).keys() == {
        "source",
        "target",
    }


def test_defect_fairseq_takes_another_dictionary(
    fairseq_train: Callable[..., None],
    binarised: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Trainer, "state_dict", Trainer.state_dict.__wrapped__)
    fairseq_train(*ONE)
    fairseq_train(*TWO, data=with_two_lines_swapped(binarised, tmp_path / "other", "de"))
