"""fairseq's own commands with our task: a line for each line, and each sentence once."""

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import generate, interactive

from fairseq_memtx import repairs
from fairseq_memtx.generation.whole_lines import search_whole
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translator import SearchSettings, Translator
from tests.choosing import some

repairs.apply()

LIMIT = ["--beam", "2", "--max-len-a", "0", "--max-len-b", "12"]
Run = Callable[[bytes], dict[int, str]]


@pytest.fixture
def run(
    data_bin: Path, scattered: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:  # fmt: skip
    """Feed bytes to fairseq-interactive; the text of each D- line by its number."""

    def feed(content: bytes, *flags: str) -> dict[int, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        words = [str(data_bin), "--task", "memtx_translation", "--path", str(scattered), "--cpu"]
        words += ["--bpe", "sentencepiece", "--sentencepiece-model"]
        words += [str(data_bin / "sentencepiece.bpe.model"), *LIMIT, *flags]
        parser = options.get_interactive_generation_parser()
        capsys.readouterr()
        interactive.main(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, words)))
        found = re.findall(r"^D-(\d+)\t[^\t\n]*\t(.*)$", capsys.readouterr().out, re.MULTILINE)
        assert len(found) == len(dict(found))
        return {int(number): text for number, text in found}

    return feed


LINES = ["The old dog sees a cat .", "", "a\rb", " \t ", "\r", "Zu\u00adsammen", "\u00ad",
         "The old\x7fmayor\x92sold the coat.", "a\u2028b\x85c", "\x00\x1b", "the dog"]  # fmt: skip


@pytest.mark.parametrize("flags", some([(("--buffer-size", "4", "--batch-size", "3"),), ((),)], 2))
def test_line_parity_as_in_translate(flags: tuple[str, ...], run: Callable, scattered: Path):
    found = run("".join(f"{line}\n" for line in LINES).encode(), *flags)
    assert sorted(found) == list(range(len(LINES)))
    search = SearchSettings(beam=2, max_len_a=0, max_len_b=12)
    expected = Translator.from_pretrained(scattered, search=search).translate(LINES)
    assert list(found.values()) == expected
    assert [text == "" for text in expected] == [
        not line.strip("\r\t\u00ad\x00\x1b ") for line in LINES
    ]


def test_invalid_utf8_is_told_with_its_line(run: Callable) -> None:
    with pytest.raises(UserError, match="line 2 of the input is not UTF-8"):
        run(b"the dog\nStra\xdfe\n")


def test_a_line_that_is_too_long_is_translated_in_parts(
    run: Callable, scattered: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = "the old dog " * 900
    found = run(f"a\n{line}\nthe dog\n".encode())
    assert sorted(found) == [0, 1, 2] and "parts" in caplog.text
    search = SearchSettings(beam=2, max_len_a=0, max_len_b=12)
    translator = Translator.from_pretrained(scattered, search=search)
    (expected,) = translator.translate([line])
    # Parts are put together from subwords here, and from text there.
    assert "".join(found[1].split()) == "".join(expected.split())


def test_hypotheses_of_parts_are_put_together(data_bin: Path, scattered: Path) -> None:
    """By rank, with the end once, and padding on either side."""
    dictionary = Translator.from_pretrained(scattered).task.source_dictionary
    eos, pad = dictionary.eos(), dictionary.pad()
    seen: list[list[int]] = []

    def search(sample):
        found = []
        for row in sample["net_input"]["src_tokens"]:
            words = row[row.ne(pad)]
            seen.append(words.tolist())
            scores = torch.arange(1.0, len(words) + 1)
            one = {"tokens": words, "score": -scores.sum(), "positional_scores": scores}
            found.append([one, {**one, "tokens": words.flip(0).roll(-1)}])
        return found

    rows = [[5, 6, 7, 8, 9, eos], [eos], [10, 11, eos]]
    for left in (True, False):
        width, seen[:] = 6, []
        padded = [[pad] * (width - len(r)) + r if left else r + [pad] * (width - len(r))
                  for r in rows]  # fmt: skip
        lengths = torch.tensor([len(row) for row in rows])
        net_input = {"src_tokens": torch.tensor(padded), "src_lengths": lengths}
        found = search_whole(search, {"net_input": net_input}, dictionary, 4, left)
        assert sorted(seen) == sorted([[5, 6, 7, eos], [8, 9, eos], [10, 11, eos]])
        best = [hypotheses[0]["tokens"].tolist() for hypotheses in found]
        assert best == rows
        assert [len(hypotheses) for hypotheses in found] == [2, 1, 2]
        assert len(found[0][0]["positional_scores"]) == 6
        assert torch.isfinite(torch.stack([one[0]["score"] for one in found])).all()


def generated(data_bin: Path, model: Path, *flags: str) -> None:
    words = [str(data_bin), "--task", "memtx_translation", "--path", str(model), "--cpu"]
    words += ["--gen-subset", "train", "--max-tokens", "300", "--beam", "1", "--max-len-a", "0"]
    words += ["--max-len-b", "1", "--num-workers", "0", "--no-progress-bar", *flags]
    parser = options.get_generation_parser()
    generate.main(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, words)))


@pytest.mark.slow
def test_shards_of_fairseq_generate_have_each_sentence_once(
    data_bin: Path, scattered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stock ignores the flags: each shard decodes everything."""
    found = []
    for shard in range(3):
        generated(data_bin, scattered, "--num-shards", "3", "--shard-id", str(shard))
        numbers = re.findall(r"^S-(\d+)\t", capsys.readouterr().out, re.MULTILINE)
        assert 60 < len(numbers) < 200
        found += map(int, numbers)
    assert sorted(found) == list(range(393))
    for shard in ("3", "-1"):
        with pytest.raises(UserError, match=r"--shard-id is .*: it has to be from 0 to 2"):
            generated(data_bin, scattered, "--num-shards", "3", f"--shard-id={shard}")


def test_a_pair_that_is_too_long_is_told_or_left_out(
    data_bin: Path, scattered: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UserError, match=r"pair \d+ of the data .*skip-invalid-size-inputs"):
        generated(data_bin, scattered, "--max-source-positions", "8")
    short = ("--max-source-positions", "8", "--skip-invalid-size-inputs-valid-test")
    generated(data_bin, scattered, *short)
    assert "are left out, the first is pair" in caplog.text
