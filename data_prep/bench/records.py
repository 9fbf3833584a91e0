"""Records of measurements: JSON lines that say what was run, on what, and what came out."""

import datetime
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def begin(kind: str, name: str) -> Record:
    """The part of a record that says where and how; to be taken before measuring."""
    return {
        "kind": kind,
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "command": command(sys.argv[1:]),
        "versions": _versions(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def append(path: Path, record: Record) -> None:
    """Add one record to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(path: Path) -> list[Record]:
    """All records of a file, the latest of each name and number of copies only."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line]
    return list({(r["name"], r.get("copies")): r for r in records}.values())


def commit() -> str:
    """The commit that is checked out, with "+" if the package's files were changed since."""
    here = Path(__file__).parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True)
        return done.stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")


def command(words: list[str]) -> str:
    """A command line as anyone could type it: corpora are named from ``$MEMTX_CORPORA``."""
    corpora = os.environ.get("MEMTX_CORPORA")
    told = []
    for word in words:
        if corpora and word.startswith(corpora):
            told.append("$MEMTX_CORPORA" + word.removeprefix(corpora.rstrip("/")))
        else:
            told.append(shlex.quote(word))
    return " ".join(["python -m data_prep", *told])


def cpu() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
    except OSError:
        return "unknown"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown"


def _versions() -> dict[str, str]:
    from data_prep.cli import versions

    return versions()
