"""What every command does with errors."""

import errno
from pathlib import Path

import pytest

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError


def test_what_a_command_returns(capsys: pytest.CaptureFixture) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def wrong() -> None:
        raise UserError("`x` is z: it has to be y")

    assert command_line.run(lambda: None, []) == 0
    assert command_line.run(interrupted, []) == command_line.INTERRUPTED
    assert command_line.run(wrong, []) == 1
    assert capsys.readouterr().err.endswith("error: `x` is z: it has to be y\n")


def test_an_error_of_a_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command_line.run(lambda: (tmp_path / "gone").read_bytes(), []) == 1
    told = capsys.readouterr().err
    assert told.endswith(f"error: No such file or directory at `{tmp_path / 'gone'}`\n")
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31mred\x9b", "\\x1b[31mred\\x9b"),
        ("\u202egnp", "\\u202egnp"),
        ("\udcff", "\\udcff"),
        ("Straße 新", "Straße 新"),
    ],
)
def test_names_are_text_and_one_line(
    name: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def wrong() -> None:
        raise UserError(f"there is no file `{name}`")

    assert command_line.run(wrong, []) == 1
    assert capsys.readouterr().err.endswith(f"error: there is no file `{shown}`\n")
    assert command_line.run(lambda: (tmp_path / name).read_bytes(), []) == 1
    assert capsys.readouterr().err.endswith(f"{shown}`\n")


def test_a_full_disk_is_told_with_what_to_do(capsys: pytest.CaptureFixture) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "table.md")

    assert command_line.run(full, []) == 1
    assert "the disk is full" in capsys.readouterr().err
