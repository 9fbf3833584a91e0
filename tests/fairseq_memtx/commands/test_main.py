"""The command `memtx`: its list, its help, and how it hands the line on."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fairseq_memtx
from fairseq_memtx.commands import GROUPS, main, names


def test_every_command_has_a_module_with_an_entry() -> None:
    for group in GROUPS.values():
        for command in group:
            module = importlib.import_module(f"fairseq_memtx.commands.{command.module}")
            assert callable(module.main), command.name
    assert len(names()) == len(set(names()))


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(words) == 0
    lines = capsys.readouterr().out.split("\n")
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == names()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"memtx {fairseq_memtx.__version__}\n"


@pytest.mark.parametrize(
    ("word", "meant"), [("tranlsate", "; did you mean `translate`?"), ("zzz", " (see")]
)
def test_a_wrong_word_is_refused(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([word]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: `{word}` is no command of memtx{meant}")
    assert told.count("\n") == 1


def test_a_reader_may_have_enough() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        line = [sys.executable, "-m", "fairseq_memtx", "--help"]
        done = subprocess.run(line, stdout=nobody, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (main.NO_READER, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
def test_a_disk_may_be_full() -> None:
    with open("/dev/full", "wb") as full:
        line = [sys.executable, "-m", "fairseq_memtx", "--help"]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the disk is full") and done.stderr.count(b"\n") == 1


def test_help_of_all_commands_imports_neither_torch_nor_fairseq() -> None:
    """In one fresh Python, which then looks at what was imported."""
    program = f"""
import contextlib, io, sys
from fairseq_memtx.commands.main import main
for name in [None, *{names()!r}]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([name, "--help"] if name else ["--help"])
    assert ("usage: memtx " + (name or "")) in out.getvalue(), name
heavy = {{"torch", "fairseq", "matplotlib", "sacrebleu", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_user_dir_is_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["user-dir"]) == 0
    assert capsys.readouterr().out == f"{fairseq_memtx.__path__[0]}\n"
