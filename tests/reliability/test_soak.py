"""Thousands of lines and calls: neither memory nor the number of open files grows."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from fairseq_memtx.commands import translate
from fairseq_memtx.translator import SearchSettings, Translator
from scripts.shared.benchmark import memory_line
from tests.reliability.drawn import MORE
from tests.reliability.tally import Tally

LINES, CALLS = 50_000 * MORE, 2_000 * MORE
#: Of resident memory between the first fifth and the end: the allocator's, not one line's.
ALLOWED_MIB = 12
WORDS = ["the", "old", "dog", "sees", "a", "cat", "and", "reads", "no", "book"]
WAYS = {"native": ["--native", "on"], "python": ["--native", "off"], "int8": ["--int8"]}
SHORT = {"beam": 2, "max_len_a": 0.0, "max_len_b": 4}


def sample(count: int) -> list[str]:
    """Lines of 1 to 9 words that repeat after 90."""
    return [" ".join(WORDS[i % 10 : i % 10 + 1 + i % 9]) or "dog" for i in range(count)]


class Sample(NamedTuple):
    """A process at one time: bytes of its output so far, resident bytes, open files."""

    written: int
    memory: int
    files: int


def watched(command: list[str], output: Path) -> list[Sample]:
    """A command that writes `output`, ten times a second while it works."""
    part, found = output.with_name(f"{output.name}.part"), [Sample(0, 0, 0)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        place = Path(f"/proc/{process.pid}")
        while process.poll() is None:
            status = (place / "status").read_text()
            written = part.stat().st_size if part.exists() else found[-1].written
            if "VmRSS" in status:
                memory = int(status.partition("VmRSS:")[2].split()[0]) * 1024
                found.append(Sample(written, memory, len(list((place / "fd").iterdir()))))
            time.sleep(0.1)
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read()
    return found[1:]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_many_lines(way: str, scattered: Path, tmp_path: Path, tally: Tally) -> None:
    """The command: as many lines as it was given, each translated as its repetitions are."""
    count = LINES if way == "native" else LINES // 5
    text, output = tmp_path / "text", tmp_path / "output"
    text.write_text("".join(f"{line}\n" for line in sample(count)))
    command = [sys.executable, "-m", "fairseq_memtx", "translate", str(scattered), "--threads", "1"]
    command += ["--beam", "2", "--max-len-a", "0", "--max-len-b", "4", "--block", "900"]
    command += ["--input", str(text), "--output", str(output), *WAYS[way]]
    found = watched(command, output)
    lines = output.read_text().split("\n")[:-1]
    same = sum(line == lines[number % 90] for number, line in enumerate(lines))
    tally.ours(same, count)
    assert len(lines) == same == count
    # Blocks of the first fifth bring the allocator to the size that each later block uses again.
    later = [one for one in found if one.written >= output.stat().st_size // 5]
    assert len(later) > 20
    growth = max(one.memory for one in later) - later[0].memory
    assert growth < ALLOWED_MIB << 20, [(one.written, one.memory >> 20) for one in later[::10]]
    halves = later[: len(later) // 2], later[len(later) // 2 :]
    # A median, since a file that is being written is open for a moment.
    usual = [sorted(one.files for one in half)[len(half) // 2] for half in halves]
    assert usual[1] <= usual[0], usual  # fewer once it ends


@pytest.mark.slow
@pytest.mark.parametrize("native", ["on", "off"])
def test_many_calls(native: str, scattered: Path, tally: Tally) -> None:
    """The translator: each call gives what the first one gave."""
    search = SearchSettings(native=native, **SHORT)  # type: ignore[arg-type]
    translator = Translator.from_pretrained(scattered, search=search)
    lines = sample(9)
    first, sizes, open_files = translator.translate(lines), [], []
    for number in range(CALLS):
        tally.ours(translator.translate(lines) == first)
        if number % (CALLS // 20) == 0:
            sizes.append(memory_line("VmRSS"))
            open_files.append(len(os.listdir("/proc/self/fd")))
    assert tally.counts["survived"] == CALLS
    assert max(sizes[4:]) - sizes[4] < ALLOWED_MIB << 20, [size >> 20 for size in sizes]
    assert len(set(open_files)) == 1


@pytest.mark.slow
def test_many_translators(scattered: Path, tmp_path: Path, tally: Tally) -> None:
    """The command again and again in one process: what it has opened and loaded it gives back."""
    text = tmp_path / "text"
    text.write_text("the old dog\n")
    sizes, open_files = [], []
    for number in range(60 * MORE):
        flags = ["--input", str(text), "--output", str(tmp_path / "output"), "--max-len-b", "4"]
        tally.ours(translate.main([str(scattered), *flags, "--max-len-a", "0"]) == 0)
        if number % 10 == 9:
            sizes.append(memory_line("VmRSS"))
            open_files.append(len(os.listdir("/proc/self/fd")))
    assert max(sizes[1:]) - sizes[1] < 2 * ALLOWED_MIB << 20, [size >> 20 for size in sizes]
    assert len(set(open_files)) == 1
