"""One long document, sentence by sentence: does anything grow?

``python -m scripts.studies.long_document [--sentences 10000] [--out results/documents-long]``

Untrained models with a carried memory translate a document of random words in order, each sentence
after the memory of all before it. A tenth of the document after another: processor seconds of its
sentences, and at its end the bytes of the memories and the resident memory of the process.

Each system is one line of ``long.jsonl``; ``long.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from fairseq_memtx.ground import command_line
from scripts.bench_decoding import untrained
from scripts.shared import benchmark, publishing
from scripts.shared.benchmark import add_record, markdown, memory_line
from scripts.studies.document_lengths import CARRIED, LAYERS, VOCAB, System, batch, timed
from scripts.studies.pronouns.configs import TRAININGS

logger = logging.getLogger(__name__)

SCHEMA = 1
NAME = "long"
OUT = Path("results/documents-long")
PARTS, BEAM, SIZE, SENTENCES, WORDS = 10, 1, "tiny", 10_000, 5


def bench(name: str, sentences: int, words: int, size: str) -> dict:
    """The record of one system."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(1)
    made = benchmark.provenance("studies.long_document", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        system = System(name, Path(folder), size, words + 8)
        parts = translate(system, sentences, words)
    for number, part in enumerate(parts, 1):
        logger.info("%s, part %d: %.4f s a sentence, %d bytes of memory, %d resident", name, number,
                    part["seconds"], part["bytes"], part["resident_bytes"])  # fmt: skip
    sizes = {"size": size, "layers": LAYERS, "vocab": VOCAB, "words": words, "beam": BEAM,
             "sentences": sentences}  # fmt: skip
    return {"schema": SCHEMA, "system": name, "sizes": sizes, "flags": list(TRAININGS[name].flags),
            "parts": parts, **made}  # fmt: skip


def translate(system: System, sentences: int, words: int) -> list[dict]:
    """Each part of the document: median seconds of a sentence, and what is held at its end."""
    from fairseq_memtx.generation.documents import DocumentSearch, Reader
    from fairseq_memtx.modules.lane_memory import LaneRow

    reader = Reader(system.models, system.task.source_dictionary.pad())
    search = DocumentSearch(system.generator(words, BEAM), system.models, reader)
    parts, seconds, size = [], [], sentences // PARTS
    for number in range(PARTS * size):
        row = LaneRow(0, number, number - 1)
        source = system.sentence(words)
        seconds.append(timed(lambda x, at: search.translate(batch(x), [at]), source, row))
        if (number + 1) % size == 0:
            held, resident = search.size_bytes(), memory_line("VmRSS")
            parts.append({"seconds": round(median(seconds), 6), "bytes": held,
                          "resident_bytes": resident})  # fmt: skip
            seconds = []
    return parts


def table(found: Sequence[dict]) -> str:
    """Rows of systems, columns of parts of the document."""
    sizes = found[0]["sizes"]
    size, parts = sizes["sentences"] // PARTS, range(PARTS)
    head = ["system", ""]
    head += [f"{part * size + 1:,}-{(part + 1) * size:,}" for part in parts]
    rows = []
    for record in found:
        cells = [
            ("ms a sentence", [f"{1000 * one['seconds']:.1f}" for one in record["parts"]]),
            ("memory, KiB", [f"{one['bytes'] / 1024:,.1f}" for one in record["parts"]]),
            ("process, MiB", [f"{one['resident_bytes'] / 2**20:,.1f}" for one in record["parts"]]),
        ]
        rows += [[record["system"], what, *values] for what, values in cells]
    told = {record["system"]: " ".join(record["flags"]) for record in found}
    lines = [
        f"# One document of {sizes['sentences']:,} sentences",
        "",
        *markdown(head, rows, words=2),
        "",
        f"- Each sentence of {sizes['words']} words is translated after the memory of all before"
        f" it, beam {sizes['beam']}; then the model reads it with its translation, for the next"
        " one's memory. ms: the median of a tenth of the document, processor time of both.",
        "- memory: what the lane holds between two sentences, that before the last one too;"
        " process: all resident memory, one system after the other in one process.",
        f"- Untrained models, width `{sizes['size']}` of `scripts.bench_decoding.untrained`,"
        f" {sizes['layers']} encoder and decoder layers, {sizes['vocab']:,} words; the fast"
        " generator by PyTorch. " + "; ".join(f"{name}: `{words}`" for name, words in told.items()),
        f"- {benchmark.conditions(found[0])}.",
    ]
    return "\n".join([*lines, ""])


def measure_all(args: argparse.Namespace) -> None:
    """Measure all systems."""
    publishing.check_checkout(args.out)
    for name in args.systems:
        record = bench(name, args.sentences, args.words, args.size)
        add_record(args.out / f"{NAME}.jsonl", record, "system")


def run(args: argparse.Namespace) -> None:
    """Measure unless the records there are shall do, then make the page."""
    if not args.table_only:
        measure_all(args)
    benchmark.write_page(args.out, NAME, table)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.long_document``."""
    whole = command_line.positive_int
    parser = argparse.ArgumentParser(
        prog="scripts.studies.long_document", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--systems", type=command_line.comma_list, default=CARRIED, help=",".join(CARRIED))
    add("--sentences", type=whole, default=SENTENCES, help=f"of the document, {PARTS} or more")
    add("--words", type=whole, default=WORDS, help="of a sentence")
    add("--size", choices=untrained.SIZES, default=SIZE, help="width of all layers")
    add("--out", type=Path, default=OUT, help=f"folder; default: {OUT}")
    add("--table-only", action="store_true", help="make the page from the records there are")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.long_document``."""
    args = parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    return command_line.run(lambda: run(args))


if __name__ == "__main__":
    raise SystemExit(main())
