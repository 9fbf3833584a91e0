"""Byte for byte what fairseq-preprocess and fairseq's own builder write."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq import options as fairseq_options
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset, MMapIndexedDatasetBuilder
from fairseq_cli import preprocess

from data_prep import binarise, spm
from tests.data_prep.conftest import Prepare
from tests.data_prep.texts import write_lines

SETS = [f"{s}.en-de.{lang}.{kind}" for s in ("train", "valid", "test")
        for lang in ("en", "de") for kind in ("bin", "idx")]  # fmt: skip


def preprocess_by_fairseq(out: Path, splits: dict[str, Path], into: Path) -> None:
    """Encode the same text as pieces and hand it to fairseq-preprocess."""
    model = spm.load((out / "bin" / "sentencepiece.bpe.model").read_bytes())
    flags = []
    for split, prefix in splits.items():
        for lang in ("en", "de"):
            lines = Path(f"{prefix}.{lang}").read_text(encoding="utf-8").split("\n")[:-1]
            pieces = [" ".join(model.encode(line, out_type=str)) for line in lines]
            write_lines(into / f"{split}.{lang}", pieces)
        flags += [f"--{split}pref", str(into / split)]
    parser = fairseq_options.get_preprocessing_parser()
    flags += ["--source-lang", "en", "--target-lang", "de", "--joined-dictionary"]
    preprocess.main(parser.parse_args([*flags, "--destdir", str(into / "bin")]))


def test_equals_fairseq_preprocess_byte_for_byte(
    prepare: Prepare, splits: dict[str, Path], tmp_path: Path
) -> None:
    assert prepare("--duplicates", "keep", "--max-ratio", "100") == 0
    preprocess_by_fairseq(tmp_path / "out", splits, tmp_path / "stock")
    ours, stock = tmp_path / "out" / "bin", tmp_path / "stock" / "bin"
    for name in SETS:
        assert (ours / name).read_bytes() == (stock / name).read_bytes(), name
    seen = [
        line
        for line in (ours / "dict.en.txt").read_text(encoding="utf-8").split("\n")
        if line and not line.endswith(" 0")
    ]
    stock_lines = (stock / "dict.en.txt").read_text(encoding="utf-8").split("\n")
    assert seen == [line for line in stock_lines if line and not line.startswith("madeupword")]


def test_dictionaries_are_equal_padded_and_hold_every_piece(
    prepare: Prepare, tmp_path: Path
) -> None:
    assert prepare() == 0
    folder = tmp_path / "out" / "bin"
    assert (folder / "dict.en.txt").read_bytes() == (folder / "dict.de.txt").read_bytes()
    dictionary = Dictionary.load(str(folder / "dict.en.txt"))
    assert len(dictionary) % binarise.PADDING_FACTOR == 0
    model = spm.load((folder / "sentencepiece.bpe.model").read_bytes())
    pieces = [model.id_to_piece(i) for i in range(3, model.get_piece_size())]
    assert all(piece in dictionary for piece in pieces)


def test_sets_decode_to_the_text(prepare: Prepare, splits: dict[str, Path], tmp_path: Path) -> None:
    assert prepare() == 0
    folder = tmp_path / "out" / "bin"
    dictionary = Dictionary.load(str(folder / "dict.de.txt"))
    data = MMapIndexedDataset(str(folder / "test.en-de.de"))
    decoded = [dictionary.string(data[i], "sentencepiece") for i in range(len(data))]
    assert decoded == Path(f"{splits['test']}.de").read_text(encoding="utf-8").split("\n")[:-1]
    assert all(data[i][-1] == dictionary.eos() for i in range(len(data)))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_block_builder_equals_fairseqs(
    tmp_path: Path, dtype: type, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binarise, "BLOCK_SENTENCES", 4)
    generator = np.random.default_rng(1)
    sentences = [generator.integers(0, 60000, n).astype(dtype) for n in [3, 1, 7, 0, 2, 5, 1, 9]]
    stock = MMapIndexedDatasetBuilder(str(tmp_path / "stock.bin"), dtype)
    for ids in sentences:
        stock.add_item(torch.from_numpy(ids.astype(np.int64)))
    stock.finalize(str(tmp_path / "stock.idx"))
    ours = binarise.BlockBuilder(str(tmp_path / "ours.bin"), dtype)
    for start in range(0, len(sentences), block):
        part = sentences[start : start + block]
        ours.add_block(np.concatenate(part), np.array([len(ids) for ids in part]))
    ours.finalize(str(tmp_path / "ours.idx"))
    for kind in ("bin", "idx"):
        assert (tmp_path / f"ours.{kind}").read_bytes() == (tmp_path / f"stock.{kind}").read_bytes()


def test_unknown_and_special_ids() -> None:
    pieces = ["<unk>", "<s>", "</s>", "▁a", "b"]
    dictionary = binarise.make_dictionary(pieces, [7, 0, 0, 2, 5])
    assert dictionary.symbols[4:6] == ["b", "▁a"]
    assert len(dictionary) == 8
    table = binarise.id_table(pieces, dictionary)
    expected = [dictionary.unk(), dictionary.bos(), dictionary.eos(), 5, 4]
    assert table.tolist() == expected
