"""Untrained models of a named size, timed by the benchmark in a process of its own.

What levels of a processor a library uses is told by the environment in which it is loaded.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_memtx.ground import shell
from fairseq_memtx.ground.errors import UserError
from scripts.bench_decoding import run, untrained
from scripts.shared.benchmark import read_records
from scripts.shared.provenance import CHECKOUT, git_state
from scripts.shared.tables import commit

logger = logging.getLogger(__name__)

KEPT = ("threads", "clock", "versions", "hardware", "commit", "dirty")  # of the benchmark's record


@dataclass(frozen=True)
class Size:
    """Of untrained models, and the lengths of sources and targets that they are timed with.

    Attributes:
        width: a name of `untrained.SIZES`.
        encoder_layers: their number.
        dim: of the model.
        words: of the dictionary.
        length: subwords of a source in the mean, and of every target.
    """

    width: str
    encoder_layers: int
    dim: int
    words: int
    length: int

    @property
    def text(self) -> str:
        """What a page says of it."""
        return f"{self.encoder_layers} encoder layers, {self.dim} dimensions, {self.words:,} words"


SIZES = {"small": Size("small", 3, 256, 6_000, 14), "base": Size("base", 6, 512, 32_000, 30)}


@dataclass(frozen=True)
class Timing:
    """How models are timed.

    Attributes:
        modes: of each decoder, such as `{"feedback": "fast+int8"}`; `ct2` is the Transformer's.
        batches, lines: sentences of each batch size, and how many are translated.
        repeats: of each system.
        target_length: subwords of every target; None for the size's.
        environment: variables of the process.
    """

    modes: Mapping[str, str]
    batches: Sequence[int]
    lines: Sequence[int]
    repeats: int
    target_length: int | None = None
    environment: Mapping[str, str] | None = None


def models(folder: Path, name: str, depths: Sequence[int]) -> Path:
    """The folder of the models of a size, which are made where they are missing."""
    size, place = SIZES[name], folder / name
    pairs = [f"{size.encoder_layers}-{depth}" for depth in depths]
    wanted = [place / f"{d}-{pair}.pt" for d in ("transformer", "feedback") for pair in pairs]
    missing = [path.stem.partition("-")[2] for path in wanted if not path.is_file()]
    if missing:
        numbers = ["--vocab-size", str(size.words), "--source-length", str(size.length)]
        layers = ["--layers", ",".join(dict.fromkeys(missing))]
        flags = ["--out", str(place), "--size", size.width, *layers, *numbers]
        untrained.make(untrained.parse_args(flags))
    return place


def timed(folder: Path, name: str, depths: Sequence[int], timing: Timing) -> dict:
    """Time the models of a size; the benchmark's record.

    Raises:
        UserError: where the benchmark fails; its messages stand before.
    """
    place, length = models(folder, name, depths), timing.target_length or SIZES[name].length
    with tempfile.TemporaryDirectory() as out:
        flags = [
            *("--name", "apart", "--out", out, "--data-bin", str(place / "bin"), "--untrained"),
            *("--shortlist", str(place / "shortlist.npz"), "--clock", "processor"),
            *("--max-len-a", "0", "--max-len-b", str(length), "--min-len", str(length)),
            *("--batches", ",".join(map(str, timing.batches))),
            *("--lines", ",".join(map(str, timing.lines)), "--repeats", str(timing.repeats)),
        ]
        for depth in depths:
            for decoder, mode in timing.modes.items():
                architecture = "transformer" if mode.startswith("ct2") else decoder
                model = f"{architecture}-{SIZES[name].encoder_layers}-{depth}.pt"
                flags += ["--system", f"{decoder}-d{depth}={place / model}:{mode}"]
        command = [sys.executable, "-m", "scripts.bench_decoding", *flags]
        environment = {**os.environ, **(timing.environment or {})}
        if subprocess.run(command, cwd=CHECKOUT, env=environment).returncode != 0:
            raise UserError("the benchmark failed: see its messages")
        return run.read_record(Path(out) / "apart.json")


def is_measured(path: Path, **wanted: object) -> bool:
    """Whether a file has the record with these values of the commit that is checked out."""
    wanted |= dict(zip(("commit", "dirty"), git_state(), strict=True))
    records = read_records(path) if path.exists() else []
    found = any(all(r.get(key) == wanted[key] for key in wanted) for r in records)
    if found:
        logger.info("measured already: %s", wanted)
    return found


def command(name: str) -> str:
    """The line that a program of this folder was called by."""
    return shell.shell_line(["python", "-m", f"scripts.bench_decoding.{name}", *sys.argv[1:]])


def conditions(records: Sequence[dict]) -> str:
    """Threads, clock, machine, commits and versions of records."""
    first = records[0]
    commits = dict.fromkeys(map(commit, records))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(first["versions"].items()))
    return (
        f"{first['threads']} thread, {first['clock']} time, {first['hardware']['cpu']},"
        f" {first['hardware']['cores']} cores, commit {', '.join(commits)}; versions: {versions}"
    )
