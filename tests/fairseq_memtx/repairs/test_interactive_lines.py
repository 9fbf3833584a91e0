"""fairseq-interactive takes one sentence from each line."""

from pathlib import Path

import pytest
from fairseq_cli import interactive

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError

repairs.apply()

TEXT = "a\rb\n\n c\u2028d\x85e\nlast"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(TEXT.encode())
    return path


def test_lines_end_at_line_feeds_only(source: Path) -> None:
    lines = ["a\rb", "", "c\u2028d\x85e", "last"]
    assert list(interactive.buffered_read(str(source), 3)) == [lines[:3], lines[3:]]
    assert list(interactive.buffered_read(str(source), 4)) == [lines]


def test_what_is_no_utf8_is_told_with_its_line(source: Path) -> None:
    source.write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match="line 2 of the input is not UTF-8"):
        list(interactive.buffered_read(str(source), 1))


def test_defect_stock_splits_at_carriage_returns_too(source: Path) -> None:
    stock = interactive.buffered_read.__wrapped__
    assert next(stock(str(source), 9))[:2] == ["a", "b"]
    source.write_bytes(b"a\n\xff\n")
    with pytest.raises(UnicodeDecodeError):
        list(stock(str(source), 9))
