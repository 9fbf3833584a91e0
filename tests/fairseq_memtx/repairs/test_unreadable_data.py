"""Damaged files of the data are told by name; tests/reliability throws every kind of damage."""

import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from fairseq.data import Dictionary, indexed_dataset
from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE
from fairseq.data.indexed_dataset import MMapIndexedDataset

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError

repairs.apply()

PREFIX = "train.en-de.en"


@pytest.fixture
def data(prepared_sample: Path, tmp_path: Path) -> Path:
    for end in ("bin", "idx"):
        shutil.copy(prepared_sample / "bin" / f"{PREFIX}.{end}", tmp_path)
    content = (tmp_path / f"{PREFIX}.bin").read_bytes()
    (tmp_path / f"{PREFIX}.bin").write_bytes(content[:-2])
    return tmp_path


def test_each_kind_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        UserError, match=rf"{PREFIX}\.bin` has \d+ bytes instead of the \d+ that its index tells"
    ):
        MMapIndexedDataset(str(data / PREFIX))
    (data / "dict.txt").write_text("no count\n")
    with pytest.raises(UserError, match=r"dict\.txt` cannot be read as a dictionary of fairseq's"):
        Dictionary.load(str(data / "dict.txt"))
    (data / f"{PREFIX}.idx").write_bytes(b"")
    with pytest.raises(UserError, match=rf"{PREFIX}\.idx` has only 0 bytes"):
        indexed_dataset.infer_dataset_impl(str(data / PREFIX))
    (data / "model").write_bytes(b"")
    told = Namespace(sentencepiece_model=str(data / "model"), sentencepiece_alpha=None)
    with pytest.raises(UserError, match="model` cannot be read as a sentencepiece model"):
        SentencepieceBPE(Namespace(**vars(told), sentencepiece_enable_sampling=False))
    assert capsys.readouterr().err == ""


def test_defect_stock_takes_a_data_file_that_is_cut(data: Path) -> None:
    """Fails once fairseq compares the data's size with the index."""
    dataset = MMapIndexedDataset.__new__(MMapIndexedDataset)
    MMapIndexedDataset.__init__.__wrapped__(dataset, str(data / PREFIX))
    with pytest.raises(ValueError, match="buffer"):
        dataset[len(dataset) - 1]


def test_defect_stock_does_not_name_a_dictionary(tmp_path: Path) -> None:
    """Fails once fairseq names the file."""
    (tmp_path / "dict.txt").write_text("no count\n")
    with pytest.raises(ValueError) as raised:
        Dictionary.add_from_file.__wrapped__(Dictionary(), str(tmp_path / "dict.txt"))
    assert "dict.txt" not in str(raised.value)
