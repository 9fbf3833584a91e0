"""How long a translation takes to start: from a checkpoint by fairseq, from a folder without it.

``python -m scripts.studies.starting CHECKPOINT [--data BIN] [--out results/starting]``

The checkpoint is exported to a folder. Then each of the two is loaded by fresh interpreters, in
turns, that translate one sentence, in this process's environment. Timed on the wall: importing what
loads it, loading it, the first translation, and the whole process with the interpreter's own start.
A run of each comes before, which compiles the native engine and fills the system's cache of files.

The record is one line of ``records.jsonl``; ``table.md`` is made from it alone (``--table-only``).
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq_memtx.commands import export
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, markdown, read_records, spread
from scripts.shared.turns import turns

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/starting")
ROUNDS = 9
SENTENCE = "A man rides a bicycle."
MIB = 2**20

#: Imports what its first argument names and translates with the model that the second names.
CHILD = """
import json, sys, time
begun = time.perf_counter()
import importlib
importlib.import_module(sys.argv[1])
from fairseq_memtx.translator import Translator
imported = time.perf_counter()
translator = Translator.from_pretrained(sys.argv[2], data=sys.argv[3] or None)
loaded = time.perf_counter()
text = translator.translate([sys.argv[4]])[0]
done = time.perf_counter()
fairseq = "fairseq" in sys.modules
print(json.dumps({"import": imported - begun, "load": loaded - imported, "first": done - loaded,
                  "text": text, "fairseq": fairseq}))
"""
#: What loads each of them.
LOADERS = {
    "checkpoint": "fairseq_memtx.translation.checkpoints",
    "folder": "fairseq_memtx.folder.loading",
}
#: What is timed, and its column.
TIMES = {"import": "import", "load": "load", "first": "first translation", "total": "process"}


def start(kind: str, model: Path, data: Path | None) -> dict[str, Any]:
    """Start an interpreter that translates a sentence; its times in seconds.

    Raises:
        UserError: where it fails.
    """
    words = [LOADERS[kind], str(model), "" if data is None else str(data), SENTENCE]
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True)
    total = time.perf_counter() - begun
    if done.returncode != 0:
        raise UserError(f"`{model}` could not be used: {done.stderr.strip()[-300:]}")
    return {**json.loads(done.stdout.strip().split("\n")[-1]), "total": total}


def bench(args: argparse.Namespace) -> None:
    """Measure, and make the table.

    Raises:
        UserError: where the checkpoint is unusable, or the two translate differently.
    """
    made = benchmark.provenance("studies.starting", args.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "folder"
        words = [str(args.checkpoint), "--out", str(folder)]
        words += [] if args.data is None else ["--data", str(args.data)]
        if export.main(words) != 0:
            raise UserError(f"`{args.checkpoint}` could not be exported")
        models = {"checkpoint": (args.checkpoint, args.data), "folder": (folder, None)}
        warm = {kind: start(kind, *model) for kind, model in models.items()}
        if warm["folder"]["text"] != warm["checkpoint"]["text"] or warm["folder"]["fairseq"]:
            raise UserError("the folder translates another way, or imports fairseq")
        found: dict[str, list[dict]] = {kind: [] for kind in models}
        for kind in turns(list(models), args.rounds):
            found[kind].append(start(kind, *models[kind]))
        size = sum(path.stat().st_size for path in folder.iterdir())
    starts = {
        kind: {name: [round(one[name], 4) for one in runs] for name in TIMES}
        for kind, runs in found.items()
    }
    bytes_of = {"checkpoint": args.checkpoint.stat().st_size, "folder": size}
    record = {"schema": SCHEMA, "starts": starts, "bytes": bytes_of, **made, "clock": "wall"}
    add_record(args.out / "records.jsonl", {**record, "model": args.name}, "model")
    write_table(args.out)


def page(records: Sequence[dict]) -> str:
    """The table of all models."""
    header = ["model", "from", *(f"{name}, s" for name in TIMES.values()), "file MiB"]
    rows = [
        [
            record["model"],
            kind,
            *(spread(starts[name]) for name in TIMES),
            f"{record['bytes'][kind] / MIB:.1f}",
        ]
        for record in records
        for kind, starts in record["starts"].items()
    ]
    lines = ["# Starting to translate", "", *markdown(header, rows, words=2), ""]
    lines += [
        "Medians (least-most) of fresh interpreters in turns, one sentence each; `process` is all,"
        " with the interpreter's own start. The checkpoint is loaded by fairseq, the folder by"
        " torch, sentencepiece and safetensors.",
        "",
        benchmark.conditions(records[-1]),
        "",
    ]
    return "\n".join(lines)


def write_table(out: Path) -> None:
    """Make ``table.md`` from ``records.jsonl``."""
    path = out / "records.jsonl"
    made = benchmark.made_of(path, read_records(path), page)
    write_bytes(out / "table.md", made.encode())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.starting``."""
    parser = benchmark.flags("scripts.studies.starting", __doc__, OUT, ROUNDS)
    add = parser.add_argument
    add("checkpoint", type=Path, nargs="?", help="a trained translation model")
    add("--data", type=Path, help="folder of the binarised data (default: as in training)")
    add("--name", default="", help="of the model in the table (default: its file's folder)")
    args = parser.parse_args(argv)
    if args.checkpoint is None and not args.table_only:
        parser.error("name a checkpoint")
    if args.checkpoint is not None:
        args.name = args.name or args.checkpoint.resolve().parent.name
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.starting``."""
    return benchmark.main(parse_args(argv), bench, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
