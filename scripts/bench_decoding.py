"""Decoding speed and quality of any set of systems, in one process and one run.

``python -m scripts.bench_decoding --name multi30k --data-bin DIR --system NAME=CHECKPOINT[:MODE]``
``python -m scripts.bench_decoding --name multi30k --runs runs/multi30k --modes plain,fast,ct2``

All systems translate the same batches with the same beam and length penalty, taking turns in an
order that rotates, after a warm-up of each. Timed: the search, the encoder included,
from ready-made batches to subwords. Not timed: loading, tokenising, batching, detokenising. Words
are those of the detokenised output; the latency is that of single sentences (batch 1). The output
of all repeats must be the same; a system that fails is marked. BLEU is of the whole test set, in
batches of the largest size; its hypotheses are kept by their hash, and systems that should be alike
are compared by a paired bootstrap. With ``--untrained`` (see `scripts.untrained`) there is speed
alone.

Writes ``NAME.json`` (the record), ``NAME.md`` and ``NAME.{png,svg}``; the latter come from the
record alone (``--table-only``). Modes: see `scripts.decoding_systems`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from data_prep.cli import versions
from data_prep.errors import UserError
from data_prep.files import write_bytes, write_json
from scripts import command_line, commands, records
from scripts.decoding_systems import MODES, Spec, modes, of_runs, spec

logger = logging.getLogger(__name__)

SCHEMA = 2
OUT = Path("results/decoding")
PERCENTILES = (50, 90, 99)
#: The processor's counts all threads, and is disturbed less where a busy machine is all there is.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def bench(args: argparse.Namespace) -> dict:
    """Load and measure all systems; the record."""
    import torch

    from scripts import decoding_systems, measure

    torch.set_num_threads(args.threads)
    made_by = provenance(args.threads, args.clock)  # before anything is measured
    systems, facts = decoding_systems.load(
        args.system, args.data_bin, fairseq_flags(args), args.shortlist, args.threads
    )
    for fact in facts:
        fact["speed"] = []
    for size, lines in zip(args.batches, args.lines, strict=True):
        timed = measure.time_systems(systems, size, lines, args.repeats, CLOCKS[args.clock])
        for fact, (_, timing) in zip(facts, timed, strict=True):
            fact["speed"].append(measured(timing))
            logger.info("%s, batch %d: %s", fact["name"], size, rate_of(fact["speed"][-1]))
    for fact, system in zip(facts, systems, strict=True):
        fact["peak_bytes"] = peak_bytes(system, max(args.batches))
        fact["state"] = decoding_systems.weigh_state(system)
    return {
        "schema": SCHEMA,
        "name": args.name,
        "search": {
            "beam": args.beam,
            "lenpen": args.lenpen,
            "max_len": [args.max_len_a, args.max_len_b],
            "min_len": args.min_len,
        },
        "systems": facts,
        **({"untrained": True} if args.untrained else quality(args, systems, facts)),
        **made_by,
    }


def quality(args: argparse.Namespace, systems: Sequence, facts: Sequence[dict]) -> dict:
    """What the systems write; their BLEU is added to the facts."""
    from scripts import decoding_quality
    from scripts.hypotheses import read_lines

    references, size = read_lines(args.references), max(args.batches)
    found = decoding_quality.judge(systems, facts, references, args.out, size)
    return {"test_lines": len(references), "quality_batch": size, "differences": found}


def measured(timing) -> dict:
    """A timing as it is recorded: with percentiles of the latency for single sentences."""
    found = timing.asdict()
    if timing.batch == 1:
        seconds = [one for repeat in timing.batch_seconds for one in repeat]
        found["latency"] = {str(p): round(percentile(seconds, p), 5) for p in PERCENTILES}
    return found


def percentile(values: Sequence[float], share: int) -> float:
    """The smallest value that ``share`` percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-share * len(ordered) // 100) - 1)]


def rate_of(speed: dict) -> str:
    """Words a second, for the log."""
    return f"{speed['words'] / median(speed['seconds']):,.0f} words/s"


def peak_bytes(system, size: int) -> int | None:
    """By how much translating the longest batch of ``size`` raises the process's memory."""
    from scripts import benchmark, measure

    batches = measure.make_batches(system, size, size)
    return benchmark.peak_bytes(lambda: system.translate(batches[-1]))


def fairseq_flags(args: argparse.Namespace) -> list[str]:
    """fairseq-generate's flags for all systems."""
    flags = ["--beam", str(args.beam), "--lenpen", str(args.lenpen), "--cpu"]
    flags += ["--max-len-a", str(args.max_len_a), "--max-len-b", str(args.max_len_b)]
    flags += ["--min-len", str(args.min_len)]
    model = args.data_bin / "sentencepiece.bpe.model"
    if model.is_file():
        flags += ["--bpe", "sentencepiece", "--sentencepiece-model", str(model)]
    return [*flags, *args.fairseq_args]


def provenance(threads: int, clock: str) -> dict:
    """What the record says of its making."""
    commit, dirty = records.git_state()
    words = ["python", "-m", "scripts.bench_decoding", *sys.argv[1:]]
    return {
        "threads": threads,
        "clock": clock,
        "command": commands.shell_line(words),
        "versions": {**versions(), **ctranslate2_version()},
        "hardware": records.hardware("cpu"),
        "commit": commit,
        "dirty": dirty,
    }


def ctranslate2_version() -> dict[str, str]:
    """The rival's version, where it is installed."""
    from importlib import metadata

    try:
        return {"ctranslate2": metadata.version("ctranslate2")}
    except metadata.PackageNotFoundError:
        return {}


def report(folder: Path, name: str) -> list[Path]:
    """Write the table of a record and, where there is BLEU, the plots."""
    from scripts import decoding_report, plots

    record = read_record(folder / f"{name}.json")
    page = folder / f"{name}.md"
    write_bytes(page, decoding_report.page(record).encode())
    if record.get("untrained"):
        return [page]
    return [page, *plots.save(decoding_report.figure(record), folder / name)]


def read_record(path: Path) -> dict:
    """The record of a run.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    if not path.is_file():
        raise UserError(f"`{path}` must be a record, but there is none: run the benchmark first")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"`{path}` must be JSON: {error}") from None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding``."""
    parser = argparse.ArgumentParser(
        prog="scripts.bench_decoding", description=__doc__.split("\n")[0]
    )
    add, whole = parser.add_argument, command_line.positive_int
    add("--name", required=True, help="of the record, such as multi30k")
    add("--data-bin", type=Path, help="fairseq's binarised data; default with --runs: its own")
    add("--references", type=Path, help="default: refs/test.TARGET beside --data-bin")
    add("--system", type=spec, action="append", default=[], help="NAME=CHECKPOINT[:MODE]; repeat")
    add("--runs", type=Path, help="folder of an experiment: all of its finished runs")
    add("--modes", type=modes, default=MODES, help="of all runs, such as plain,fast+int8,ct2")
    add("--untrained", action="store_true", help="the models are: measure speed alone")
    add("--shortlist", type=Path, help="file of scripts.shortlist, for the mode shortlist")
    add("--batches", type=command_line.int_list, default=(1, 8, 32, 128), help="sentences in one")
    add(
        "--lines",
        type=command_line.int_list,
        default=(100, 400, 1000, 1000),
        help="lines of the test set to translate at each batch size",
    )
    add("--repeats", type=whole, default=5, help="times that each system translates them")
    add("--threads", type=whole, default=1, help="threads of every system")
    add("--clock", choices=CLOCKS, default="wall", help="processor: for busy machines, one thread")
    add("--beam", type=whole, default=5)
    add("--lenpen", type=float, default=1.0)
    add("--max-len-a", type=float, default=1.2, help="subwords at most, times the source's")
    add("--max-len-b", type=whole, default=10, help="and so many more")
    add("--min-len", type=whole, default=1, help="subwords at least")
    add("--out", type=Path, default=OUT, help=f"folder; default: {OUT}")
    add("--table-only", action="store_true", help="make table and plots from the record there is")
    add("--fairseq-args", nargs=argparse.REMAINDER, default=[], help="last: more of its flags")
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be measured before anything heavy is imported; complete what is given."""
    if args.runs is not None:
        args.system = [*args.system, *of_runs(args.runs, args.modes)]
        args.data_bin = args.data_bin or args.runs / "data" / "bin"
    if args.data_bin is None or not args.system:
        raise UserError(
            "`--data-bin` and `--system`, or `--runs`, must be given, unless with `--table-only`"
        )
    for one in args.system:
        check_system(one, args.shortlist)
    targets = sorted(args.data_bin.glob("test.*-*.*.idx"))
    if not targets:
        raise UserError(f"`{args.data_bin}` must hold a binarised test set, but holds none")
    if args.references is None:
        target = targets[0].name.split(".")[1].split("-")[1]
        args.references = args.data_bin.parent / "refs" / f"test.{target}"
    if not args.untrained and not args.references.is_file():
        raise UserError(f"`{args.references}` must hold the references, but is no file")
    if args.clock == "processor" and args.threads > 1:
        raise UserError(f"`--threads` must be 1 with `--clock processor`, but is {args.threads}")
    names = [one.name for one in args.system]
    if len(set(names)) < len(names):
        raise UserError(f"`--system` must have names that differ, but has {', '.join(names)}")
    if len(args.lines) != len(args.batches):
        raise UserError(
            f"`--lines` must have {len(args.batches)} numbers, as `--batches`, but has"
            f" {len(args.lines)}"
        )


def check_system(one: Spec, shortlist: Path | None) -> None:
    """Refuse a system whose files are missing."""
    if not one.checkpoint.is_file():
        raise UserError(
            f"checkpoint of `{one.name}` must be a file, but `{one.checkpoint}` is none"
        )
    if "shortlist" in one.mode and (shortlist is None or not shortlist.is_file()):
        raise UserError(f"`--shortlist` must be a file for `{one.name}`, but is {shortlist}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding``."""
    args = parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch is imported

    def work() -> None:
        if not args.table_only:
            check(args)
            with warnings.catch_warnings():
                # fairseq uses Hydra and torch in ways that they discourage
                warnings.simplefilter("ignore")
                record = bench(args)
            args.out.mkdir(parents=True, exist_ok=True)
            write_json(args.out / f"{args.name}.json", record)
        for path in report(args.out, args.name):
            logger.info("wrote %s", path)

    return command_line.run(work)


if __name__ == "__main__":
    raise SystemExit(main())
