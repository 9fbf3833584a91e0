"""Several commands at once with one output or one folder: each ends well or in one line."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.reliability.tally import Tally

AT_ONCE = 3


def run_at_once(commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Start all; the status and the standard error of each."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "fairseq_memtx", *words], stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True,
        ) for words in commands
    ]  # fmt: skip
    told = [one.communicate(timeout=400)[1] for one in started]
    return [(one.returncode, text) for one, text in zip(started, told, strict=True)]


def ends_well(status: int, told: str) -> bool:
    """Whether a command has done its work, or says in one line that another one does it."""
    last = told.strip().split("\n")[-1]
    busy = "another" in last and ("error: " in last or " ERROR " in last)
    return "Traceback" not in told and (status == 0 or (status == 1 and busy))


def commands(model: Path, data: Path, text: Path) -> dict[str, tuple[list[str], str]]:
    """Each command that writes, and its output's name; `OUT` is the folder."""
    return {
        "average": (["average", str(model), str(model), "--out", "OUT/new.pt"], "new.pt"),
        "quantize": (
            ["quantize", str(model), "--data", str(data), "--out", "OUT/new.pt"], "new.pt",
        ),
        "shortlist": (["shortlist", str(data), "--iterations", "1", "--out", "OUT/x.npz"], "x.npz"),
        "translate": (
            ["translate", str(model), "--data", str(data), "--input", str(text), "--threads", "1",
             "--max-len-a", "0", "--max-len-b", "3", "--output", "OUT/out.de"], "out.de",
        ),
        "prepare": (
            ["prepare", "sample", "--out", "OUT", "--documents", "8", "--vocab-size", "300",
             "--workers", "1"], "prepared.json",
        ),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["average", "quantize", "shortlist", "translate", "prepare"])
def test_several_with_one_output(
    name: str, scattered: Path, data_bin: Path, tmp_path: Path, tally: Tally
) -> None:
    """The file is that of one alone, and nothing else is left."""
    (tmp_path / "text").write_text("the old dog\n" * 9)
    words, output = commands(scattered, data_bin, tmp_path / "text")[name]

    def at_once(count: int, folder: Path) -> list[tuple[int, str]]:
        folder.mkdir()
        return run_at_once([[w.replace("OUT", str(folder)) for w in words]] * count)

    ((status, told),) = at_once(1, tmp_path / "alone")
    assert status == 0, told
    found = at_once(AT_ONCE, tmp_path / "together")
    for status, told in found:
        tally.ours(ends_well(status, told))
    assert all(ends_well(*one) for one in found), found
    assert any(status == 0 for status, _ in found)
    content = [(tmp_path / place / output).read_bytes() for place in ("alone", "together")]
    assert content[0] == content[1] or name == "prepare"  # whose report tells paths and times
    names = [
        sorted(p.name for p in (tmp_path / place).iterdir()) for place in ("alone", "together")
    ]
    assert names[0] == names[1]
