"""Output of fairseq-generate that is damaged, and a full disk: one line each."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_memtx.commands import hypotheses
from fairseq_memtx.commands.distil import collect
from fairseq_memtx.ground.errors import UserError


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (b"D-x\t-1\ty\n", "line `D-x\\t-1\\ty` does not begin with a sentence's number"),
        (b"D-\t-1\ty\n", "does not begin with a sentence's number"),
        (b"D--1\t-1\ty\n", "does not begin with a sentence's number"),
        ("D-\u0663\t-1\ty\n".encode(), "does not begin with a sentence's number"),
        (b"D-0\n", "is not D-NUMBER, a tab, a score, a tab and a text"),
        (b"D-0\t-1\n", "is not D-NUMBER, a tab, a score, a tab and a text"),
        (b"D-0 -1 y\n", "does not begin with a sentence's number"),
        (b"D-" + b"9" * 5000 + b"\t-1\ty\n", "translations instead of 1"),
        (b"D-0\t-1\t\xff\n", "the input is not UTF-8 at byte 7"),
        (b"", "there are 0 translations instead of 1"),
        (b"\0\n", "there are 0 translations instead of 1"),
    ],
)
def test_damaged_output(
    output: bytes, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(output)))
    assert hypotheses.main(["--lines", "1"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and says in printed.err
    assert printed.err.count("\n") == 1 and len(printed.err) < 300


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
def test_a_full_disk() -> None:
    """In a process of its own, since Python writes what is left when it ends."""
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "fairseq_memtx", "hypotheses", "--lines", "1"],
            input=b"D-0\t-1\ty\n",
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert ran.returncode == 1
    assert ran.stderr.startswith(b"error: the disk is full") and ran.stderr.count(b"\n") == 1


def test_a_reader_that_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "fairseq_memtx", "hypotheses", "--lines", "1"],
        input=b"D-0\t-1\ty\n",
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert ran.returncode == 1 and ran.stderr.count(b"\n") == 1


def test_distil_takes_each_sentence_once() -> None:
    one = ["S-0\ta", "H-0\t-1\tb c", "H-0\t-2\tc", "D-0\t-1\tbc"]  # --nbest 2
    assert collect([*one, "S-7\td", "H-7\t-1\t"]) == {0: "b c", 7: ""}
    with pytest.raises(UserError, match="sentence 0 was decoded twice"):
        collect([*one, *one])
    for line in ("H-x\t-1\ta", "S-\ta", "H-1e3\t0\ta"):
        with pytest.raises(UserError, match="does not begin with a sentence's number"):
            collect([line])
