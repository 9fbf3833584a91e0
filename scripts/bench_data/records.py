"""Records of measurements: JSON lines that say what was run, on what, and what came out."""

import datetime
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from fairseq_memtx.ground.versions import versions
from fairseq_memtx.ground.writing import open_growing
from scripts.shared.provenance import cpu_model, git_state

Record = dict[str, Any]


def begin(kind: str, name: str) -> Record:
    """The part of a record that says where and how; to be taken before measuring."""
    commit, dirty = git_state()
    return {
        "kind": kind,
        "name": name,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit + ("+" if dirty else ""),
        "command": command(sys.argv[1:]),
        "versions": versions(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def append(path: Path, record: Record) -> None:
    """Add one record to a file of JSON lines."""
    with open_growing(path) as file:
        file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())


def read(path: Path) -> list[Record]:
    """All records of a file, the latest of each name and number of copies only."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line]
    return list({(r["name"], r.get("copies")): r for r in records}.values())


def command(words: list[str]) -> str:
    """A command line as anyone could type it: corpora are named from ``$MEMTX_CORPORA``."""
    corpora = os.environ.get("MEMTX_CORPORA")
    told = []
    for word in words:
        if corpora and word.startswith(corpora):
            told.append("$MEMTX_CORPORA" + word.removeprefix(corpora.rstrip("/")))
        else:
            told.append(shlex.quote(word))
    return " ".join(["python -m scripts.bench_data", *told])
