"""A line is the same to a model whether it was prepared or is translated, whatever is in it."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.binarise import id_table
from data_prep.clean import Cleaner
from data_prep.corpus import Block, ParallelFiles, split_lines
from data_prep.encode import Encoder, TextBlock
from data_prep.heldout import HeldOut
from data_prep.options import Options
from fairseq_memtx.ground.files import sha256_of
from fairseq_memtx.ground.layout import SUBWORD_MODEL
from fairseq_memtx.ground.text import TextSteps, load_subwords, symbols
from fairseq_memtx.translator import SearchSettings, Translator


@pytest.fixture(scope="module", params=["none", "moses"])
def translator(request: pytest.FixtureRequest, scattered: Path) -> Translator:
    steps = TextSteps(request.param, normalize=request.param == "moses")
    return Translator.from_pretrained(scattered, search=SearchSettings(beam=1), steps=steps)


def options_of(translator: Translator) -> Options:
    moses = translator.steps.tokenizer == "moses"
    return Options(tokenizer="moses" if moses else "none", normalize=moses, max_words=10**6)


def prepared(lines: list[str], translator: Translator, data_bin: Path) -> list[list[int]]:
    """fairseq's numbers of each line as a source of the training set; none of a dropped pair."""
    files = ParallelFiles("text", Path("text.en"), Path("text.de"))
    cleaner = Cleaner(options_of(translator))
    model = data_bin / SUBWORD_MODEL
    encoder = Encoder(model, sha256_of(model), None)
    table = id_table(symbols(load_subwords(model)), translator.task.source_dictionary)
    docids = "".join(f"{number}\n" for number in range(len(lines))).encode()
    sources = b"".join(line.encode() + b"\n" for line in lines)
    block = cleaner(Block(files, 1, len(lines), sources, b"target\n" * len(lines), docids))
    kept = [int(number) for number in block.docids.split()]
    sides = (block.source, block.target, block.docids)
    found = encoder(TextBlock(*([x + b"\n" for x in split_lines(side)] for side in sides)))
    numbers = table[np.frombuffer(found.columns[0], encoder.dtype)]
    ends = np.cumsum(np.frombuffer(found.columns[1], np.int32))
    by_line = dict(zip(kept, np.split(numbers, ends), strict=False))
    return [by_line[i].tolist() if i in by_line else [] for i in range(len(lines))]


def lines_with(characters: Iterator[str]) -> list[str]:
    return [f"old{c}dog {c} cat{c}" for c in characters]


def assert_the_same(lines: list[str], translator: Translator, data_bin: Path) -> None:
    for line, expected in zip(lines, prepared(lines, translator, data_bin), strict=True):
        found = translator.encode(line)
        assert [number for part in found for number in part] == expected, ascii(line)


@pytest.mark.parametrize("share", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_characters_of_the_first_plane(share: int, translator: Translator, data_bin: Path) -> None:
    """Each of the share within a word, alone and at the end; with Moses' slow tokens every ninth of
    them; and all of the first that matter most.
    """
    step = share * (9 if translator.steps.tokenizer == "moses" else 1)
    codes = {*range(0x250), *range(0x2000, 0x2070), *range(0, 0x10000, step)} - {0x0A}
    lines = lines_with(chr(code) for code in sorted(codes) if not 0xD800 <= code < 0xE000)
    assert len(lines) > 7000 / share
    assert_the_same(lines, translator, data_bin)


ODD = ["", " ", "\t", "\u00ad", "\u200b\u2060", "\x00", "\x1b[31mred\x1b[0m", "a\rb", "\r", "x\r",
       "The old\x7fmayor\x92sold the coat.", "Zu\u00adsammen", "a\u2028b\x85c", "\ufeffa", "<unk>",
       "</s> <s> <pad>", "\u2581 \u2581a", "a\u3000b", "e\u0301",
       "\U0001f600", "\U0001f469\u200d\U0001f469", "\u093c", "\ufffd"]  # fmt: skip


def test_odd_lines_and_random_ones(translator: Translator, data_bin: Path) -> None:
    draw = random.Random(1)
    alphabet = [*"ab ,.'\"&<>-", *map(chr, (0, 9, 13, 27, 0x7F, 0x85, 0xA0, 0xAD, 0x2028, 0xFEFF)),
                "\u2581", "é", "日", "\U0001f600", "dog", "cat"]  # fmt: skip
    lines = ["".join(draw.choices(alphabet, k=draw.randint(0, 30))) for _ in range(1000)]
    assert_the_same([*ODD, *lines], translator, data_bin)


def test_what_is_blank_to_one_is_blank_to_the_other(
    translator: Translator, data_bin: Path, tmp_path: Path
) -> None:
    lines = [*ODD, *map(chr, sorted({*range(0x250), *range(0x2000, 0x2070)} - {0x0A}))]
    blank = [line for line in lines if not translator.encode(line)]
    dropped = [
        line
        for line, ids in zip(lines, prepared(lines, translator, data_bin), strict=True)
        if not ids
    ]
    assert blank == dropped and "\u00ad" in blank
    for language in ("en", "de"):
        (tmp_path / f"t.{language}").write_bytes(b"".join(f"{x}\n".encode() for x in lines))
    files = ParallelFiles("t", tmp_path / "t.en", tmp_path / "t.de")
    held_out = HeldOut(files, options_of(translator))
    sources = [line for block in held_out for line in block.source]
    assert [line == b"\n" for line in sources] == [not translator._before(line) for line in lines]


def test_unknown_words_are_spelled_as_fairseq_generate_does(
    translator: Translator, data_bin: Path
) -> None:
    """Its D- lines are what `memtx hypotheses` prints."""
    from argparse import Namespace

    from fairseq import utils

    told = {"bpe": "sentencepiece", "sentencepiece_model": str(data_bin / SUBWORD_MODEL)}
    bpe = translator.task.build_bpe(
        Namespace(**told, sentencepiece_enable_sampling=False, sentencepiece_alpha=None)
    )
    dictionary, draw = translator.task.target_dictionary, random.Random(2)
    for _ in range(100):
        numbers = draw.choices(range(4, len(dictionary)), k=draw.randint(1, 9))
        numbers[draw.randrange(len(numbers))] = dictionary.unk()
        tokens = torch.tensor([*numbers, dictionary.eos()])
        _, subwords, _ = utils.post_process_prediction(
            tokens, "", None, None, dictionary, None, {dictionary.eos()}
        )
        expected = translator._after(bpe.decode(subwords))
        assert translator.decode(tokens) == expected and "unk" in expected
