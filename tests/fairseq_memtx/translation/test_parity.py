"""All that is told of a translation equals what fairseq-generate prints of the same model."""

import math
import re
from collections import defaultdict
from pathlib import Path

import pytest
from fairseq import options
from fairseq_cli import generate

from fairseq_memtx.ground.text import join
from fairseq_memtx.translation.formats import pharaoh
from fairseq_memtx.translation.results import Translation
from fairseq_memtx.translator import SearchSettings, Translator

LIMIT = {"max_len_a": 0, "max_len_b": 20}  # that does not depend on who shares a batch
Printed = dict[int, dict[str, list[str]]]


def printed(data: Path, model: Path, flags: str, capsys: pytest.CaptureFixture) -> Printed:
    """The lines of fairseq-generate by sentence and letter."""
    fixed = f"--path {model} --gen-subset test --cpu --num-workers 0 --batch-size 16"
    arguments = [str(data), *fixed.split(), *flags.split()]
    capsys.readouterr()
    generate.main(options.parse_args_and_arch(options.get_generation_parser(), arguments))
    lines: Printed = defaultdict(lambda: defaultdict(list))
    for letter, number, rest in re.findall(
        r"^([STHPA])-(\d+)\t(.*)$", capsys.readouterr().out, re.M
    ):
        lines[int(number)][letter].append(rest)
    return lines


def same(found: list[Translation], lines: dict[str, list[str]]) -> None:
    """fairseq prints logarithms to the base of 2."""
    assert len(found) == len(lines["H"])
    for one, hypothesis, scores, alignment in zip(
        found, lines["H"], lines["P"], lines["A"], strict=True
    ):
        score, subwords = hypothesis.split("\t")
        assert " ".join(one.subwords) == subwords
        assert " ".join(one.source_subwords) == lines["S"][0]
        assert one.score / math.log(2) == pytest.approx(float(score), rel=1e-4)
        want = [float(number) for number in scores.split(" ")]
        assert [x / math.log(2) for x in one.subword_scores] == pytest.approx(want, abs=2e-4)
        assert one.alignment is not None
        assert pharaoh(one.alignment) == alignment


@pytest.mark.parametrize("decoder", ["transformer", "feedback"])
def test_the_nbest_with_scores_and_alignments(
    decoder: str, models: dict[str, Path], prepared_sample: Path, text: dict[str, list[str]],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    flags = "--beam 4 --nbest 3 --print-alignment hard --max-len-a 0 --max-len-b 20"
    lines = printed(prepared_sample / "bin", models[decoder], flags, capsys)
    for generator in ("fast", "fairseq"):
        search = SearchSettings(4, nbest=3, alignment=True, generator=generator, **LIMIT)
        found = Translator.from_pretrained(models[decoder], search=search).nbest(text["en"])
        for number, translations in enumerate(found):
            same(translations, lines[number])
            rows = translations[0].attention or ()
            source = len(translations[0].source_subwords) + 1
            assert {len(row) for row in rows} == {source}
            assert len(rows) == len(translations[0].subword_scores)
    assert len({one.text for translations in found for one in translations}) > 3


def test_soft_alignments_are_the_attention(
    models: dict[str, Path], prepared_sample: Path, text: dict[str, list[str]],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    flags = "--beam 2 --print-alignment soft --max-len-a 0 --max-len-b 20"
    lines = printed(prepared_sample / "bin", models["feedback"], flags, capsys)
    search = SearchSettings(2, alignment=True, **LIMIT)
    found = Translator.from_pretrained(models["feedback"], search=search).nbest(text["en"])
    for number, (best,) in enumerate(found):
        want = [[float(x) for x in row.split(",")] for row in lines[number]["A"][0].split(" ")]
        assert best.attention is not None
        for got, row in zip(best.attention, want, strict=True):
            assert list(got) == pytest.approx(row, abs=2e-5)


@pytest.mark.parametrize("decoder", ["transformer", "feedback"])
def test_scores_of_given_translations(
    decoder: str, models: dict[str, Path], prepared_sample: Path, text: dict[str, list[str]],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    flags = "--score-reference --print-alignment hard"
    lines = printed(prepared_sample / "bin", models[decoder], flags, capsys)
    search = SearchSettings(alignment=True)
    translator = Translator.from_pretrained(models[decoder], search=search)
    found = translator.score(text["en"], text["de"])
    for number, one in enumerate(found):
        same([one], lines[number])
        assert one.text == text["de"][number]
        assert one.score == pytest.approx(one.log_prob / len(one.subword_scores), rel=1e-5)


def test_what_was_found_is_scored_as_it_was_found(
    models: dict[str, Path], text: dict[str, list[str]]
) -> None:
    """Where its text is cut into the same subwords again."""
    translator = Translator.from_pretrained(models["feedback"], search=SearchSettings(**LIMIT))
    found = [best for (best,) in translator.nbest(text["en"])]
    scored = translator.score(text["en"], [best.text for best in found])
    pairs = zip(found, scored, strict=True)
    same_cut = [(best, again) for best, again in pairs if best.subwords == again.subwords]
    assert same_cut
    for best, again in same_cut:
        assert again.log_prob == pytest.approx(best.log_prob, rel=1e-4)


def test_a_prefix_begins_the_translation_as_fairseqs_prefix_does(
    models: dict[str, Path], prepared_sample: Path, text: dict[str, list[str]],
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """`--prefix-size` forces the first subwords of the reference."""
    flags = "--beam 3 --nbest 3 --print-alignment hard --max-len-a 0 --max-len-b 20 --prefix-size 2"
    lines = printed(prepared_sample / "bin", models["feedback"], flags, capsys)
    for generator in ("fast", "fairseq"):
        search = SearchSettings(3, nbest=3, alignment=True, generator=generator, **LIMIT)
        translator = Translator.from_pretrained(models["feedback"], search=search)
        pieces = [translator.pieces(line, is_target=True)[:2] for line in text["de"]]
        prefixes = [join(two) for two in pieces]
        # those whose text is cut into the same subwords again
        kept = [i for i, two in enumerate(pieces) if translator.pieces(prefixes[i], True) == two]
        assert len(kept) > 4
        chosen = [text["en"][i] for i in kept], [prefixes[i] for i in kept]
        found = translator.nbest(chosen[0], prefixes=chosen[1])
        for number, translations in zip(kept, found, strict=True):
            same(translations, lines[number])
