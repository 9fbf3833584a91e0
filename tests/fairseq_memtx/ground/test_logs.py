"""What is logged can be printed: names of files as escapes, other texts as they are."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from data_prep import cli
from data_prep.sample import command as sample
from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.logs import log_to_stderr

ODD = [os.fsdecode(b"\xff\xc3.png"), "a\nb", "\x1b[31mred\x07", "\u202egnp.png", "a\tb\rc"]


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize("kind", [str, Path, UserError, lambda name: FileNotFoundError(2, name)])
def test_odd_names_are_escaped_in_one_line(
    kind: Callable[[str], object], caplog: pytest.LogCaptureFixture
) -> None:
    log_to_stderr("%(message)s")
    for name in ODD:
        logging.getLogger("another").warning("`%s` of %d", kind(name), 3)
        logging.getLogger("another").warning(f"`{name}`".replace("\n", ""))
    assert len(caplog.messages) == 2 * len(ODD)
    assert all(map(str.isprintable, caplog.messages[::2]))
    assert all(text.replace("\t", "").isprintable() for text in caplog.messages)
    assert r"`\udcff\udcc3.png`" in caplog.messages[1]


def test_other_lines_stay(caplog: pytest.LogCaptureFixture) -> None:
    log_to_stderr("%(message)s")
    logger = logging.getLogger("another")
    logger.warning("Two lines:\n\tÄpfel, %r, %5.1f, %s", PurePosixPath("plain"), 2.0, ["a\nb"])
    logger.warning("%(one)s %(two)d", {"one": "dictionary", "two": 2})
    logger.warning(3)
    logger.warning("100 %")
    assert caplog.messages == [
        "Two lines:\n\tÄpfel, PurePosixPath('plain'),   2.0, ['a\\nb']",
        "dictionary 2",
        "3",
        "100 %",
    ]


def test_commands_log_what_can_be_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / ODD[0]
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("sys.argv", ["memtx"])
    assert command_line.run(lambda: None, ["translate", str(out)]) == 0
    assert sample.main(["--out", str(out), "--documents", "30"]) == 0
    logging.setLogRecordFactory(logging.LogRecord)
    assert cli.main(["verify", str(out)]) == 1
    told = [text for text in caplog.messages if r"\udcff\udcc3.png" in text]
    assert len(told) >= 4 and all(map(str.isprintable, caplog.messages))


def test_a_terminal_of_ascii_gets_every_line(tmp_path: Path) -> None:
    """As a process of its own, whose standard error is as strict as a log's file may be."""
    script = (
        "import os, sys; from fairseq_memtx.ground import command_line\n"
        "command_line.run(lambda: None, [os.fsdecode(b'\\xff')])"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 0 and len(lines) == 2 and lines[1].endswith(r"command: \udcff")
