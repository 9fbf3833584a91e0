from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import spm
from data_prep.encode import Encoder, Limits, TextBlock, encode_split, id_dtype
from data_prep.options import Options
from fairseq_memtx.ground.layout import IdFiles, Layout
from fairseq_memtx.ground.progress import Progress
from tests.data_prep.texts import pairs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spm")
    sample = (line.encode() for pair in pairs(400) for line in pair)
    told = spm.train(sample, folder / "m", folder / "p", Options(vocab_size=120))
    (folder / "sha256").write_text(told["sha256"])
    return folder / "m"


def encoder(model: Path, limits: Limits | None = None) -> Encoder:
    return Encoder(model, (model.parent / "sha256").read_text(), limits)


def block_of(text: list[tuple[str, str]]) -> TextBlock:
    sides = ([f"{pair[side]}\n".encode() for pair in text] for side in range(2))
    return TextBlock(*sides, [f"d{line}\n".encode() for line in range(len(text))])  # type: ignore[call-arg]


def sentences(ids: Path, sizes: Path) -> list[list[int]]:
    lengths = np.frombuffer(sizes.read_bytes(), "<i4")
    flat = np.frombuffer(ids.read_bytes(), "<u2")
    return [part.tolist() for part in np.split(flat, np.cumsum(lengths)[:-1])]


def encode(
    model: Path, out: Path, blocks: list[TextBlock], limits: Limits | None
) -> tuple[IdFiles, dict[str, Any]]:
    files = Layout(out, "en", "de").ids("train")
    told = encode_split(blocks, files, lambda: encoder(model, limits), 1, Progress("encode"))
    return files, told


def test_ids_are_sentencepieces(model: Path, tmp_path: Path) -> None:
    text = pairs(50, seed=2)
    blocks = [block_of(text[:30]), block_of(text[30:])]
    files, told = encode(model, tmp_path, blocks, None)
    reference = spm.load(model.read_bytes())
    for side, names in enumerate(files.sides()):
        expected = [reference.encode(pair[side]) for pair in text]
        assert sentences(*names) == expected
        assert told["subwords"][side] == sum(map(len, expected))
    flat = [i for pair in text for line in pair for i in reference.encode(line)]
    assert told["tokens"] == np.bincount(flat, minlength=120).tolist()
    assert told["pairs"] == 50 and told["dropped"] == {}


def test_limits_drop_and_count(model: Path, tmp_path: Path) -> None:
    text = [
        ("ka lo mi", "ka lo mi"),
        ("ka lo " * 40, "ka lo " * 40),  # too long
        ("ka lo mi ka lo mi ka", "ka lo"),  # ratio beyond 2
        ("ka lo", "ka lo mi ka"),  # ratio of 2 or so: kept
        ("\u200b", "ka"),  # nothing in it for sentencepiece
    ]
    files, told = encode(model, tmp_path, [block_of(text)], Limits(30, 2.0))
    assert told["dropped"] == {"no subwords": 1, "too many subwords": 1, "length ratio": 1}
    assert told["pairs"] == len(sentences(files.source_ids, files.source_sizes)) == 2
    assert files.docids.read_text() == "d0\nd3\n"


def test_without_limits_nothing_is_dropped(model: Path, tmp_path: Path) -> None:
    text = [("", ""), ("ka " * 500, "x"), ("ka", "")]
    files, told = encode(model, tmp_path, [block_of(text)], None)
    assert told["pairs"] == 3 and told["dropped"] == {}
    assert np.frombuffer(files.target_sizes.read_bytes(), "<i4").tolist()[::2] == [0, 0]


def test_unknown_characters_are_counted(model: Path, tmp_path: Path) -> None:
    _, told = encode(model, tmp_path, [block_of([("ka ☃ lo", "ka"), ("☃", "ka lo")])], None)
    assert told["unknown"] == [2, 0]


def test_ids_take_two_bytes_while_they_can() -> None:
    assert id_dtype(32000) == np.uint16
    assert id_dtype(1 << 16) == np.uint16
    assert id_dtype((1 << 16) + 1) == np.uint32
