"""Seeded fuzz: rubbish from text to text, and through everything that reads a file.

`MEMTX_FUZZ_SECONDS` (8) is shared by the two, with `-m slow` a minute; `MEMTX_FUZZ_SEED` (1)
chooses another course.
`python -m tests.reliability.guided_fuzz` is the same guided by coverage, where atheris is.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.cli import main
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.text import TextSteps
from fairseq_memtx.translator import SearchSettings, Translator
from tests.reliability.guided_fuzz import TARGETS, one_input
from tests.reliability.rubbish import LOADERS, MADE, damaged, line

SECONDS = float(os.environ.get("MEMTX_FUZZ_SECONDS", "8"))
SEED = int(os.environ.get("MEMTX_FUZZ_SEED", "1"))


def rounds(seconds: float) -> Iterator[random.Random]:
    """A source of chance for each round, as long as there is time, and for three at least."""
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline or number < 3:
        yield random.Random(f"{SEED}:{number}")
        number += 1


both = pytest.mark.parametrize("seconds", [SECONDS / 2, pytest.param(30, marks=pytest.mark.slow)])


@both
def test_from_rubbish_to_text(seconds: float, scattered: Path, tmp_path: Path) -> None:
    """Each line has its translation, blank where and only where nothing was left of it."""
    search = SearchSettings(beam=1, max_len_a=0, max_len_b=4)
    translator = Translator.from_pretrained(scattered, search=search)
    clean = TextSteps().before("en")
    for number, draw in enumerate(rounds(seconds)):
        lines = [line(draw) for _ in range(40)]
        texts = translator.translate(lines)
        assert len(texts) == len(lines)
        for source, text in zip(lines, texts, strict=True):
            assert "\n" not in text and (text == "" or clean(source) != ""), ascii(source)
        if number < 3:
            prepare_lines(lines, draw, tmp_path / str(number))


def prepare_lines(lines: list[str], draw: random.Random, folder: Path) -> None:
    """A preparation of these lines ends well, and keeps every line of what is held out."""
    folder.mkdir()
    # Enough made-up words for any number of characters to find room in the vocabulary.
    words = [" ".join("".join(draw.choices("abcdefghiklmnoprstu", k=6)) for _ in range(4))
             for _ in range(300)]  # fmt: skip
    for split, texts in (("train", [*lines, *words]), ("valid", lines), ("test", lines)):
        for language in ("en", "de"):
            content = "".join(f"{text}\n" for text in texts).encode()
            (folder / f"{split}.{language}").write_bytes(content)
    flags = [f"--{split}={folder / split}" for split in ("train", "valid", "test")]
    out = folder / "out"
    status = main(["parallel", "--out", str(out), *flags, "--vocab-size", "500", "--workers", "1"])
    assert status == 0
    assert (out / "refs" / "valid.en").read_bytes() == (folder / "valid.en").read_bytes()


@both
def test_loaders_refuse_in_one_line(seconds: float, prepared_sample: Path, tmp_path: Path) -> None:
    """Whatever is in a file, a loader reads it or says in one line that it does not."""
    refused = 0
    for draw in rounds(seconds):
        name = draw.choice(sorted(LOADERS))
        path = tmp_path / Path(name).name
        whole = (prepared_sample / name).read_bytes()
        path.write_bytes(damaged(whole, draw))
        try:
            LOADERS[name](path)
        except UserError as error:
            refused += 1
            assert str(path.with_suffix("")) in str(error) and "\n" not in str(error)
    assert refused > 2


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_what_is_whole_is_read(name: str, prepared_sample: Path) -> None:
    LOADERS[name](prepared_sample / name)


def test_the_guided_fuzzer_reaches_every_target(tmp_path: Path, prepared_sample: Path) -> None:
    """Without atheris: whole files of each kind, damaged ones, and text."""
    whole = {Path(name).name: (prepared_sample / name).read_bytes() for name in LOADERS}
    whole |= {name: content for name, (content, _) in MADE.items()}
    draw = random.Random(SEED)
    for number, (name, _) in enumerate(TARGETS):
        for content in (whole[name], damaged(whole[name], draw), b""):
            one_input(bytes([number]) + content, tmp_path)
        assert (tmp_path / name).exists()
    one_input(bytes([len(TARGETS)]) + "a\u2028\x00b\u00ad".encode(), tmp_path)
    one_input(b"", tmp_path)
