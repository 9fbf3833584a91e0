"""Several files of a split are read as one set, each sentence once."""

from pathlib import Path

import pytest
from fairseq import tasks
from fairseq.tasks import translation

from fairseq_memtx import repairs
from tests.choosing import some
from tests.fairseq_memtx.tiny_training import (
    TINY,
    config_of,
    make_data,
    random_lengths,
    write_pairs,
)

repairs.apply()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 pairs in `train`, 7 in `train1`."""
    folder = make_data(tmp_path / "data", train_pairs=24)
    write_pairs(folder, "train1", random_lengths(7, 5), 5)
    return folder


def read(data: Path, folder: Path, task: str, *flags: str) -> int:
    cfg = config_of(data, folder, *flags, task=task, tiny=TINY)
    made = tasks.setup_task(cfg.task)
    made.load_dataset("train", combine=True, epoch=1)
    return len(made.dataset("train"))


@pytest.mark.parametrize("task", some(["memtx_translation", "translation"], 2))
def test_each_sentence_is_there_once_or_as_often_as_asked_for(
    task: str, data: Path, tmp_path: Path
) -> None:
    assert read(data, tmp_path, task) == 24 + 7
    assert read(data, tmp_path, task, "--upsample-primary", "3") == 3 * 24 + 7


def test_defect_stock_repeats_the_first_a_negative_number_of_times(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails once fairseq's default is 1."""
    stock = translation.load_langpair_dataset.__wrapped__
    monkeypatch.setattr(translation, "load_langpair_dataset", stock)
    with pytest.raises(ValueError, match="negative dimensions"):
        read(data, tmp_path, "translation")
