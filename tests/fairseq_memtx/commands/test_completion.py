"""Completion of `memtx` in a shell, asked for as a shell does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("argcomplete")


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("memtx tr", ["train-staged", "translate"]),
        ("memtx translate --be", ["--beam"]),
        ("memtx translate --generator f", ["fast", "fairseq"]),
        ("memtx prepare s", ["sample"]),
        ("memtx prepare sample --doc", ["--documents"]),
        ("memtx nonsense --be", []),
    ],
)
def test_a_line_is_completed_without_torch(line: str, completed: list[str], tmp_path: Path) -> None:
    for heavy in ("torch", "fairseq", "numpy"):
        (tmp_path / f"{heavy}.py").write_text("raise ImportError('too slow for a shell')")
    answer = tmp_path / "answer"
    environment = {
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "PYTHONPATH": str(tmp_path),
        "IFS": "\n",
    }
    command = [Path(sys.executable).with_name("memtx")]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert answer.read_text().split() == completed
