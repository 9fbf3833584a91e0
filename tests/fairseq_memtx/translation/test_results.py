"""Words of subwords, alignments between them, and lines that were cut and joined."""

import pytest

from fairseq_memtx.ground import text
from fairseq_memtx.translation.results import Translation, between_words, joined, word_numbers

S = text.WORD_START


@pytest.mark.parametrize(
    ("subwords", "numbers"),
    [
        ([], []),
        ([f"{S}a"], [0]),
        ([f"{S}a", "b", f"{S}c", "d", "e"], [0, 0, 1, 1, 1]),
        (["a", f"{S}b"], [0, 1]),  # a first word without its space
        ([f"{S}a", S, "b"], [0, 1, 1]),  # the space of the next word alone
        ([S, f"{S}a", "b"], [0, 0, 0]),
        ([f"{S}a", "<unk>", f"{S}<unk>"], [0, 0, 1]),
    ],
)
def test_each_subword_has_its_word(subwords: list[str], numbers: list[int]) -> None:
    assert word_numbers(subwords) == numbers
    if subwords and subwords[-1] != S:
        assert max(numbers) + 1 == len(text.join(subwords).split())


def test_an_alignment_between_words_has_no_repetitions() -> None:
    source, target = [f"{S}a", "b", f"{S}c"], [f"{S}x", "y", f"{S}z", f"{S}w"]
    pairs = [(0, 0), (1, 1), (2, 2), (2, 3)]
    assert between_words(pairs, source, target) == ((0, 0), (1, 1), (1, 2))


def part(name: str, score: float, size: int) -> Translation:
    pairs = tuple((size - 1 - i, i) for i in range(size))
    subwords = tuple(f"{S}{name}{i}" for i in range(size))
    return Translation(
        text=" ".join(word.removeprefix(S) for word in subwords),
        score=score,
        subwords=subwords,
        subword_scores=(score,) * (size + 1),
        source_subwords=subwords,
        alignment=pairs,
        word_alignment=pairs,
        attention=((1.0,),),
    )


def test_parts_of_a_line_are_joined_rank_by_rank() -> None:
    first = [part("a", -1.0, 2), part("b", -2.0, 1)]
    second = [part("c", -4.0, 1), part("d", -5.0, 1), part("e", -6.0, 1)]
    best, other = joined([first, second])
    assert (best.text, other.text) == ("a0 a1 c0", "b0 d0")
    assert best.score == pytest.approx((-1.0 * 3 + -4.0 * 2) / 5)
    assert best.subword_scores == (-1.0, -1.0, -4.0, -4.0)  # the end symbol within is left out
    assert best.subwords == best.source_subwords == (f"{S}a0", f"{S}a1", f"{S}c0")
    assert best.alignment == best.word_alignment == ((1, 0), (0, 1), (2, 2))
    assert best.attention is None


def test_a_blank_line_has_one_empty_translation() -> None:
    assert joined([]) == [Translation("", 0.0)]
    only = [part("a", -1.0, 2)]
    assert joined([only]) == only
