import gzip
from pathlib import Path

import pytest

from data_prep import corpus
from data_prep.corpus import ParallelFiles, find_parallel, read_blocks, split_lines
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import count_lines
from tests.data_prep.texts import pairs, write_parallel


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def all_lines(files: ParallelFiles, block_lines: int = 7) -> list[list[bytes]]:
    sides: list[list[bytes]] = [[], []]
    for block in read_blocks(files, block_lines):
        sides[0] += split_lines(block.source)
        sides[1] += split_lines(block.target)
    return sides


@pytest.mark.parametrize("extension", ["", ".gz"])
@pytest.mark.parametrize("block_lines", [1, 7, 100])
def test_blocks_hold_every_line_in_order(tmp_path: Path, extension: str, block_lines: int) -> None:
    text = pairs(30)
    for lang, side in zip(("en", "de"), zip(*text, strict=True), strict=True):
        write(tmp_path / f"a.{lang}{extension}", "".join(s + "\n" for s in side).encode())
    files = find_parallel(tmp_path / "a", "en", "de")
    assert [
        (s.decode(), t.decode()) for s, t in zip(*all_lines(files, block_lines), strict=True)
    ] == text
    first_lines = [block.first_line for block in read_blocks(files, block_lines)]
    assert first_lines == list(range(1, 31, block_lines))


@pytest.mark.parametrize("separator", ["\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_newline_ends_a_line(tmp_path: Path, separator: str) -> None:
    write(tmp_path / "a.en", f"one{separator}two\nthree\n".encode())
    write(tmp_path / "a.de", b"eins\nzwei\n")
    source, target = all_lines(find_parallel(tmp_path / "a", "en", "de"))
    assert source == [f"one{separator}two".encode(), b"three"]
    assert target == [b"eins", b"zwei"]


def test_last_line_may_lack_its_newline(tmp_path: Path) -> None:
    write(tmp_path / "a.en", b"one\ntwo")
    write(tmp_path / "a.de", b"eins\nzwei\n")
    files = find_parallel(tmp_path / "a", "en", "de")
    assert all_lines(files) == [[b"one", b"two"], [b"eins", b"zwei"]]
    assert count_lines(files.source) == count_lines(files.target) == 2


def test_count_lines_of_nothing_and_of_blank_lines(tmp_path: Path) -> None:
    assert count_lines(write(tmp_path / "empty", b"")) == 0
    assert count_lines(write(tmp_path / "blank", b"\n\n\n")) == 3


def test_optional_files_are_found(tmp_path: Path) -> None:
    prefix = write_parallel(tmp_path / "a", pairs(5), docids=True)
    write(tmp_path / "a.context.gz", b"0\n" * 5)
    files = find_parallel(prefix, "en", "de")
    assert [path.name for path in files.paths()] == ["a.en", "a.de", "a.docid", "a.context.gz"]


def test_missing_side_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.en", b"one\n")
    with pytest.raises(UserError, match=r"neither `.*a\.de` nor `.*a\.de\.gz`"):
        find_parallel(tmp_path / "a", "en", "de")


def test_ambiguous_side_is_told(tmp_path: Path) -> None:
    for name in ("a.en", "a.en.gz", "a.de"):
        write(tmp_path / name, b"one\n")
    with pytest.raises(UserError, match="both plain and compressed"):
        find_parallel(tmp_path / "a", "en", "de")


@pytest.mark.parametrize("short", ["en", "de", "docid"])
def test_unequal_line_counts_are_told_with_numbers(tmp_path: Path, short: str) -> None:
    for name in ("en", "de", "docid"):
        write(tmp_path / f"a.{name}", b"x\n" * (20 if name != short else 13))
    with pytest.raises(UserError, match=rf"a\.{short}` has 13"):
        list(read_blocks(find_parallel(tmp_path / "a", "en", "de"), 5))


def test_truncated_gzip_is_told(tmp_path: Path) -> None:
    whole = gzip.compress("".join(s + "\n" for s, _ in pairs(500)).encode())
    path = tmp_path / "a.en.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"the gzip file `.*a\.en\.gz` is damaged"):
        count_lines(path)


def test_damaged_gzip_is_told(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(b"hello world\n" * 50))
    content[-6] ^= 0xFF  # the checksum
    path = tmp_path / "a.en.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"the gzip file .* is damaged"):
        list(corpus.read_lines(path))


def test_a_file_without_line_breaks_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "MAX_LINE_BYTES", 100)
    write(tmp_path / "a.en", b"short\n" + b"x" * 101 + b"\n")
    with pytest.raises(UserError, match=r"a\.en` line 2 is longer than 100 bytes"):
        list(corpus.read_lines(tmp_path / "a.en"))
