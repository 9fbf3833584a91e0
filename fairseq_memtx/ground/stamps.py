"""Stamps: which stage is done, from which inputs, with which outputs.

A stage's stamp holds the hash of everything the stage depends on: its options, the checksums of the
files it read, and those of the stages before. It is written last, so a stage that was interrupted
has none; it holds only while the outputs are still those that were written.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fairseq_memtx.ground.files import count_lines, hash_of, sha256_of, write_json

logger = logging.getLogger(__name__)

# Up to this size an output's content is hashed again at each start; beyond it, only when its
# modification time has changed.
ALWAYS_HASH_BYTES = 64 << 20

# Raised when the code writes something else from the same inputs, so that old outputs are redone.
FORMAT = 2

Stamp = dict[str, Any]


class Stamps:
    """The stamps of one output folder.

    Args:
        out: the output folder; stamps lie in its ``stamps/``.
        stale: files that must not outlive the start of a stage, e.g. the final report.
    """

    def __init__(self, out: Path, stale: Sequence[Path] = ()) -> None:
        self.out = out
        self.folder = out / "stamps"
        self.stale = stale

    def run(
        self,
        name: str,
        inputs: dict[str, Any],
        outputs: Sequence[Path],
        work: Callable[[], dict[str, Any]],
    ) -> Stamp:
        """Do ``work`` unless its stamp says that it is done, and return the stamp.

        Args:
            name: the stage's name.
            inputs: all that the outputs depend on.
            outputs: the files that ``work`` writes, each by way of a temporary name.
            work: returns what is worth keeping in the stamp, e.g. counts.
        """
        inputs_hash = hash_of({"format": FORMAT, **inputs})
        stamp = self._read(name)
        reason = self._reason_to_run(stamp, inputs_hash)
        if stamp is not None and reason is None:
            logger.info("%s: already done", name)
            return stamp
        logger.info("%s: starts (%s)", name, reason)
        for path in (self._path(name), *self.stale):
            path.unlink(missing_ok=True)
        started, processor = time.monotonic(), processor_seconds()
        result = work()
        stamp = {
            "stage": name,
            "inputs": inputs,
            "inputs_hash": inputs_hash,
            "outputs": {self._relative(path): describe(path) for path in outputs},
            "result": result,
            "seconds": round(time.monotonic() - started, 3),
            "processor_seconds": round(processor_seconds() - processor, 3),
        }
        write_json(self._path(name), {**stamp, "sha256": hash_of(stamp)})
        return stamp

    def is_done(self, name: str, inputs: dict[str, Any]) -> bool:
        """Whether `run` would find a stage with these inputs done."""
        inputs_hash = hash_of({"format": FORMAT, **inputs})
        return self._reason_to_run(self._read(name), inputs_hash) is None

    def facts(self, path: Path) -> dict[str, Any]:
        """SHA-256 and line count of an input file, remembered while its size and time stay."""
        remembered = self._read_json("inputs") or {}
        key = str(path.resolve())
        status = path.stat()
        known = remembered.get(key)
        now = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        if known is None or not _is_fact(known) or {**known, **now} != known:
            known = {**describe(path), "lines": count_lines(path)}
            write_json(self._path("inputs"), {**remembered, key: known})
        return known

    def _reason_to_run(self, stamp: Stamp | None, inputs_hash: str) -> str | None:
        if stamp is None:
            return "not done yet"
        if stamp["inputs_hash"] != inputs_hash:
            return "its options or inputs changed"
        for name, known in stamp["outputs"].items():
            if difference := differs(self.out / name, known):
                return f"`{name}` {difference}"
        return None

    def _read(self, name: str) -> Stamp | None:
        """The stamp of a stage; None where there is none, or one that was not written by us."""
        stamp = self._read_json(name)
        if stamp is None or stamp.pop("sha256", None) != hash_of(stamp):
            return None
        return stamp

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads(self._path(name).read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()


def _is_fact(known: object) -> bool:
    """Whether something has the shape of what `Stamps.facts` remembers."""
    if not isinstance(known, dict):
        return False
    whole = all(type(known.get(name)) is int for name in ("size", "mtime_ns", "lines"))
    return whole and isinstance(known.get("sha256"), str)


def processor_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def describe(path: Path) -> dict[str, Any]:
    """Size, modification time and SHA-256 of a file."""
    status = path.stat()
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": sha256_of(path),
    }


def differs(path: Path, known: dict[str, Any]) -> str | None:
    """How a file differs from what was recorded about it, or ``None``."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return "is missing"
    if status.st_size != known["size"]:
        return f"has {status.st_size} bytes instead of {known['size']}"
    unchanged = status.st_mtime_ns == known["mtime_ns"] and known["size"] > ALWAYS_HASH_BYTES
    if not unchanged and sha256_of(path) != known["sha256"]:
        return "does not have its recorded SHA-256"
    return None


def digest(stamp: Stamp) -> str:
    """One hash for the contents of all outputs of a stage, for the stages that follow."""
    return hash_of({name: known["sha256"] for name, known in stamp["outputs"].items()})
