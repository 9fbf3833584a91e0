"""Sentences longer than `--max-tokens` are left out where that is allowed, and told."""

from pathlib import Path

import numpy as np
import pytest
from fairseq.data import FairseqDataset

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.repairs import long_sentences
from tests.fairseq_memtx.tiny_training import load, make_data, run_training, write_pairs

repairs.apply()


class Lengths(FairseqDataset):
    """Sentences of which only the lengths are known."""

    def __init__(self, lengths: list[int]):
        self.lengths = np.array(lengths)

    def num_tokens(self, index: int) -> int:
        return int(self.lengths[index])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        return self.lengths[indices]

    def __len__(self) -> int:
        return len(self.lengths)


class OneByOne(Lengths):
    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [Lengths, OneByOne])
def test_the_others_are_batched(kind, caplog: pytest.LogCaptureFixture) -> None:
    dataset = kind([3, 9, 4, 5, 10, 2])
    batches = dataset.batch_by_size(np.arange(6), max_tokens=8)
    assert [list(batch) for batch in batches] == [[0, 2], [3], [5]]
    assert "sentence 1 of the data (and 1 more) has 9 tokens, more than --max-tokens (8)" in (
        caplog.text
    )
    assert [list(batch) for batch in dataset.batch_by_size(np.arange(6), max_sentences=6)] == [
        list(range(6))
    ]


def test_none_that_fits_is_refused() -> None:
    with pytest.raises(UserError, match="no sentence fits"):
        Lengths([9, 10]).batch_by_size(np.arange(2), max_tokens=8)
    assert Lengths([]).batch_by_size(np.arange(0), max_tokens=8) == []


@pytest.mark.parametrize("task", ["translation", "memtx_translation"])
@pytest.mark.parametrize("curriculum", [False, True])
def test_training_and_its_validation_go_on_without_them(
    task: str, curriculum: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if curriculum and task == "translation":
        pytest.skip("fairseq's task has none")
    data = make_data(tmp_path / "data", 12)
    lengths = [(3, 3)] * 8 + [(40, 3), (3, 40)]
    for split in ("train", "valid"):
        write_pairs(data, split, lengths, 1)
    flags = ["--max-tokens", "30", "--max-epoch", "2"]
    if curriculum:
        flags += ["--memtx-length-schedule", "linear", "--memtx-length-updates", "2"]
        flags += ["--memtx-length-start", "4"]
    run_training(data, tmp_path / "save", *flags, task=task)
    # Of the validation set; those of the training set are told as too long for the model.
    assert caplog.text.count("more than --max-tokens (30): left out") == 1
    assert load(tmp_path / "save/checkpoint_last.pt")["extra_state"]["val_loss"] > 0


def test_a_training_of_nothing_is_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", 12)
    with pytest.raises(UserError, match=r"no sentence is left to train on: .*--max-tokens \(1\)"):
        run_training(data, tmp_path / "save", "--max-tokens", "1", "--disable-validation")


def test_defect_stock_ends_in_an_assertion() -> None:
    """Fails once fairseq skips them, or says what to do."""
    stock = FairseqDataset.batch_by_size.__wrapped__
    with pytest.raises(AssertionError):
        stock(Lengths([3, 9]), np.arange(2), max_tokens=8)
    assert long_sentences.fitting(Lengths([3, 9]), np.arange(2), 8).tolist() == [0]
