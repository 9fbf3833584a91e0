"""Translations out of fairseq-generate's output."""

import pytest

from fairseq_memtx.commands.hypotheses import extract, read_lines
from fairseq_memtx.ground.errors import UserError


def test_order_is_that_of_the_test_set() -> None:
    output = [
        "S-1\tx",
        "H-1\t-0.1\t▁b",
        "D-1\t-0.1\tb",
        "D-10\t-1\tk",
        "D-0\t-0.5\ta \t c",
        "noise",
    ]
    output += [f"D-{number}\t-1\t{number}" for number in range(2, 10)]
    assert extract(output, 11) == ["a \t c", "b", *map(str, range(2, 10)), "k"]


def test_an_empty_translation_is_kept() -> None:
    assert extract(["D-0\t-0.5\t"], 1) == [""]


@pytest.mark.parametrize(
    ("output", "count", "message"),
    [
        (["D-0\t0\ta"], 2, "there are 1 translations instead of 2, the first missing is 1"),
        (["D-0\t0\ta", "D-1\t0\tb"], 1, "there are 2 translations instead of 1"),
        (["D-0\t0\ta", "D-0\t0\tb"], 1, "sentence 0 is translated twice"),
    ],
)
def test_missing_and_repeated_sentences_are_refused(output, count, message) -> None:
    with pytest.raises(UserError, match=message):
        extract(output, count)


def test_only_line_feeds_split_lines(tmp_path) -> None:
    path = tmp_path / "text"
    path.write_bytes("a\u2028b\u0085c\rd\n\nlast\n".encode())
    assert read_lines(path) == ["a\u2028b\u0085c\rd", "", "last"]
    path.write_bytes(b"")
    assert read_lines(path) == []


def test_unreadable_text_is_a_user_error(tmp_path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_lines(tmp_path / "none")
    (tmp_path / "latin").write_bytes("schön".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8 at byte 3"):
        read_lines(tmp_path / "latin")
