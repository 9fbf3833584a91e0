"""The shortlist command on the sample."""

import shutil
from pathlib import Path

import pytest
import torch

from fairseq_memtx.commands import shortlist


def test_the_sample_has_most_of_its_words(prepared_sample: Path, tmp_path: Path) -> None:
    from fairseq.data import Dictionary

    from fairseq_memtx.decoding.shortlist import Shortlist

    out, data = tmp_path / "new" / "list.npz", prepared_sample / "bin"
    few = ["--translations", "20", "--frequent", "20"]
    assert shortlist.main([str(data), "--out", str(out), *few]) == 0
    dictionary = Dictionary.load(str(data / "dict.de.txt"))
    loaded = Shortlist.load(out, len(dictionary), len(dictionary))
    symbols = [dictionary.bos(), dictionary.pad(), dictionary.eos(), dictionary.unk()]
    assert torch.isin(torch.tensor(symbols), loaded.always).all()
    found = shortlist.missing(loaded, shortlist.Corpus(data, "valid"))
    assert found["words"] < 0.6 * len(dictionary) and found["missing"] < 0.1
    # a list of as many words chosen at random would miss in proportion
    assert found["missing"] < 0.5 * (1 - found["words"] / len(dictionary))


def test_the_same_command_writes_the_same_list(prepared_sample: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "1.npz", tmp_path / "2.npz"
    for path in (one, other):
        words = [str(prepared_sample / "bin"), "--out", str(path), "--max-links", "20000"]
        assert shortlist.main(words) == 0
    assert one.read_bytes() == other.read_bytes()


def test_what_cannot_work_is_refused_before_the_work(
    prepared_sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(shortlist, "build", None)  # which is not reached
    data = tmp_path / "data"
    shutil.copytree(prepared_sample / "bin", data)

    def error(out: str) -> str:
        assert shortlist.main([str(data), "--out", str(tmp_path / out)]) == 1
        return capsys.readouterr().err.split("\n")[-2]

    assert "is a folder: name a file" in error(".")
    (data / "valid.en-de.en.idx").write_bytes(b"no index")
    assert "valid.en-de.en.idx` has only 8 bytes" in error("list.npz")
    (data / "valid.en-de.en.idx").unlink()
    assert "the split `valid`" in error("list.npz")


@pytest.mark.parametrize(("folder", "message"), [("nowhere", "is not a folder"), (".", "split")])
def test_missing_data(folder: str, message: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / folder
    assert shortlist.main([str(path), "--out", str(tmp_path / "x.npz")]) == 1
    assert message in capsys.readouterr().err.split("\n")[-2]
