"""What eight bits do to BLEU: each system against the same model in float, and the mean of all.

``python -m scripts.bench_decoding.int8 --records multi30k,multi30k-beam1 --references FILE``

Reads the texts that a benchmark of decoding stored beside its record, and draws their lines anew,
``--rounds`` times, all models' at once (the bootstrap of Koehn 2004): 95 % of the differences drawn
lie within the interval.

Each record is one line of ``int8.jsonl``; ``int8.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from scripts.bench_decoding import quality, run
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, markdown, read_records
from scripts.shared.publishing import check_checkout

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/decoding")
NAME = "int8"
SEED = 12345
ORDERS = 4  # of BLEU's n-grams


def bench(args: argparse.Namespace) -> None:
    """Compare the texts of every record, and make the page after each."""
    check_checkout(args.out)
    if not args.records or args.references is None:
        raise UserError("name `--records` and `--references` to compare, or give `--table-only`")
    for name in args.records:
        add_record(args.out / f"{NAME}.jsonl", measured(args, name), "record")
        write_page(args.out)


def measured(args: argparse.Namespace, name: str) -> dict:
    """What the eight bits of a record's systems did."""
    made_by = benchmark.provenance(f"bench_decoding.{NAME}", args.threads)
    references = args.references.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    facts = run.read_record(args.out / f"{name}.json")["systems"]
    pairs = [pair for pair in quality.pairs(facts) if is_rounding(*pair)]
    if not pairs:
        raise UserError(f"the record {name} has no system in eight bits beside one in float")
    texts = {
        fact["name"]: quality.read_text(args.out / quality.FOLDER, fact["hypotheses_sha256"])
        for pair in pairs
        for fact in pair
    }
    counts = {system: counted(lines, references) for system, lines in texts.items()}
    for fact in (fact for pair in pairs for fact in pair):
        if round(bleu(counts[fact["name"]].sum(0)), 2) != round(fact["bleu"]["score"], 2):
            raise UserError(f"the references are not those of the record {name}")
    draws = drawn(len(references), args.rounds)
    differences = {one["name"]: differ(counts, one, other, draws) for one, other in pairs}
    return {
        "schema": SCHEMA,
        "record": name,
        "samples": args.rounds,
        "lines": len(references),
        "systems": [compared(*pair, texts, differences) for pair in pairs],
        "means": means(pairs, differences),
        **made_by,
    }


def compared(one: dict, other: dict, texts: dict, differences: dict) -> dict:
    """A system in eight bits beside the same in float."""
    both = zip(texts[one["name"]], texts[other["name"]], strict=True)
    return {
        "system": one["name"],
        "against": other["name"],
        "lines": sum(ours != theirs for ours, theirs in both),
        **told(differences[one["name"]]),
    }


def means(pairs: Sequence[tuple[dict, dict]], differences: dict) -> list[dict]:
    """Of each mode, over its models."""
    found = []
    for mode in dict.fromkeys(one["mode"] for one, _ in pairs):
        same = [differences[one["name"]] for one, _ in pairs if one["mode"] == mode]
        mean = [sum(sample) / len(same) for sample in zip(*same, strict=True)]
        found.append({"mode": mode, "models": len(same), **told(mean)})
    return found


def is_rounding(fact: dict, other: dict) -> bool:
    """Whether two systems are one model, in eight bits and in float."""
    return "int8" in fact["mode"] and fact["checkpoint"] == other["checkpoint"]


def counted(lines: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What BLEU sums up: `(lines, 10)`, n-grams that match, n-grams, words, words of references.

    Raises:
        UserError: if there is not one reference for each line.
    """
    import numpy as np
    from sacrebleu.metrics import BLEU

    if len(lines) != len(references):
        raise UserError(f"there are {len(lines):,} lines and {len(references):,} references")
    metric = BLEU(effective_order=True)  # which it wants for sentences; the counts are the same
    pairs = zip(lines, references, strict=True)
    scores = [metric.sentence_score(line, [reference]) for line, reference in pairs]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores])


def bleu(sums: np.ndarray) -> float:
    """BLEU of sums of such counts."""
    from sacrebleu.metrics import BLEU

    *counts, words, of_references = (int(number) for number in sums)
    score = BLEU.compute_bleu(counts[:ORDERS], counts[ORDERS:], words, of_references)
    return score.score


def drawn(lines: int, samples: int) -> np.ndarray:
    """How often each line is there in each sample, `(1 + samples, lines)`; in the first, once."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    found = rng.multinomial(lines, [1 / lines] * lines, size=samples)
    return np.concatenate([np.ones((1, lines), dtype=found.dtype), found])


def differ(counts: dict, one: dict, other: dict, draws: np.ndarray) -> list[float]:
    """The differences of BLEU between two systems: as they are, and of each sample."""
    ours, theirs = (draws @ counts[fact["name"]] for fact in (one, other))
    return [bleu(a) - bleu(b) for a, b in zip(ours, theirs, strict=True)]


def told(differences: Sequence[float]) -> dict:
    """The difference as it is, and between which 95 % of those of the samples lie."""
    import numpy as np

    least, most = np.percentile(differences[1:], [2.5, 97.5])
    return {
        "difference": round(differences[0], 3),
        "interval": [round(float(least), 3), round(float(most), 3)],
    }


def write_page(out: Path) -> None:
    """Make the page from the records there are.

    Raises:
        UserError: if there are none, or they are damaged.
    """
    path = out / f"{NAME}.jsonl"
    records = read_records(path)
    write_bytes(out / f"{NAME}.md", benchmark.made_of(path, records, page).encode())


def page(records: Sequence[dict]) -> str:
    """The whole page."""
    first = records[0]
    header = ["record", "system", "against", "lines that differ", "BLEU difference", "95 %"]
    means = ["record", "mode", "models", "mean difference", "95 %"]
    return "\n".join([
        "# Eight bits against float", "",
        *markdown(header, [row for record in records for row in of_systems(record)], words=3), "",
        *markdown(means, [row for record in records for row in of_means(record)], words=2), "",
        f"- BLEU of {first['lines']:,} lines; 95 %: of the differences of {first['samples']:,}"
        " samples of the lines (Koehn 2004), the same lines for all systems of a record.",
        *(f"- [{record['record']}]({record['record']}.md): `{record['command']}`, commit"
          f" {record['commit'][:12]}" for record in records),
        "",
    ])  # fmt: skip


def of_systems(record: dict) -> Iterator[list[str]]:
    """The rows of a record in the first table."""
    for one in record["systems"]:
        names = [record["record"], one["system"], one["against"]]
        yield [*names, f"{one['lines']:,}", *numbers(one)]


def of_means(record: dict) -> Iterator[list[str]]:
    """The rows of a record in the second table."""
    for one in record["means"]:
        yield [record["record"], one["mode"], str(one["models"]), *numbers(one)]


def numbers(one: dict) -> list[str]:
    """Difference and interval."""
    least, most = one["interval"]
    return [f"{one['difference']:+.2f}", f"{least:+.2f} to {most:+.2f}"]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding.int8``."""
    parser = benchmark.flags(f"scripts.bench_decoding.{NAME}", __doc__, OUT, rounds=1000)
    add = parser.add_argument
    add("--records", type=command_line.comma_list, help="names of the benchmark's in the folder")
    add("--references", type=Path, help="of the test set, a line for each")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding.int8``."""
    return benchmark.main(parse_args(argv), bench, write_page)


if __name__ == "__main__":
    raise SystemExit(main())
