import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from data_prep import spm
from data_prep.options import Options
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import sha256_of
from tests.data_prep.texts import pairs, write_lines


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    text = pairs(400)
    write_lines(tmp_path / "en", [source for source, _ in text])
    write_lines(tmp_path / "de", [target for _, target in text])
    (tmp_path / "keep").write_bytes(b"\x01" * 300 + b"\x00" * 100)
    return tmp_path / "en", tmp_path / "de"


def sample(sides: tuple[Path, Path], **options: int) -> list[str]:
    chosen = Options(vocab_size=120, **options)
    return [line.decode() for line in spm.sample(sides[0].parent / "keep", sides, 300, chosen)]


def train(sides: tuple[Path, Path], name: str = "m", **options: Any) -> dict[str, Any]:
    folder = sides[0].parent
    lines = (line.encode() for line in sample(sides))
    chosen = Options(**{"vocab_size": 120, **options})
    return spm.train(lines, folder / name, folder / f"{name}.pieces", chosen)


def test_a_large_sample_is_everything_kept(sides: tuple[Path, Path]) -> None:
    assert sample(sides) == [line for pair in pairs(400)[:300] for line in pair]


def test_a_small_sample_has_its_size_its_pairs_and_depends_on_the_seed(
    sides: tuple[Path, Path],
) -> None:
    lines = sample(sides, spm_sample=50, seed=3)
    chosen = list(zip(lines[::2], lines[1::2], strict=True))
    assert len(chosen) == len(set(chosen)) == 50
    assert set(chosen) <= set(pairs(400)[:300])
    assert lines == sample(sides, spm_sample=50, seed=3)
    assert lines != sample(sides, spm_sample=50, seed=4)


def test_a_sample_is_spread_evenly(sides: tuple[Path, Path]) -> None:
    position = {pair: number for number, pair in enumerate(pairs(400))}
    lines = sample(sides, spm_sample=100)
    chosen = [position[pair] for pair in zip(lines[::2], lines[1::2], strict=True)]
    counts, _ = np.histogram(chosen, bins=3, range=(0, 300))
    assert counts.min() > 15


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_training_is_deterministic_and_recorded(
    sides: tuple[Path, Path], tmp_path: Path, model_type: str
) -> None:
    told = [train(sides, str(number), model_type=model_type) for number in range(2)]
    assert told[0] == told[1]
    assert told[0]["sha256"] == sha256_of(tmp_path / "0")
    model = spm.load_checked(tmp_path / "0", told[0]["sha256"])
    pieces = (tmp_path / "0.pieces").read_text(encoding="utf-8").split("\n")[:-1]
    assert pieces == [model.id_to_piece(i) for i in range(120)]
    assert str(tmp_path).encode() not in (tmp_path / "0").read_bytes()


def test_byte_fallback_leaves_nothing_unknown(sides: tuple[Path, Path], tmp_path: Path) -> None:
    train(sides, vocab_size=400, byte_fallback=True)
    model = spm.load((tmp_path / "m").read_bytes())
    assert model.decode(model.encode("ka ☃ lo")) == "ka ☃ lo"


def test_too_large_a_vocabulary_is_told(sides: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`--vocab-size` is 50000: .* has to be at most \d+"):
        train(sides, vocab_size=50000)
    assert not (tmp_path / "m").exists()


def test_too_small_a_vocabulary_is_told(sides: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`--vocab-size` is 5: .* has to be at least \d+"):
        train(sides, vocab_size=5)


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_model_is_noticed(sides: tuple[Path, Path], tmp_path: Path, damage: str) -> None:
    told = train(sides)
    content = bytearray((tmp_path / "m").read_bytes())
    if damage == "truncate":
        del content[len(content) // 2 :]
    else:
        content[-20] ^= 1
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(UserError, match=r"m` has the SHA-256"):
        spm.load_checked(tmp_path / "m", told["sha256"])


def test_pieces_that_fairseq_would_split_are_refused() -> None:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ab\u2003cd ef gh"] * 50),
        model_writer=written,
        vocab_size=14,
        model_type="char",
        normalization_rule_name="identity",
        minloglevel=2,
    )
    with pytest.raises(UserError, match=r"piece '\\u2003' is not a word to fairseq"):
        spm.check_pieces(spm.load(written.getvalue()))
