"""Decoding speed and quality of any set of systems, in one process and one run.

``python -m scripts.bench_decoding --name multi30k --data-bin DIR --system NAME=CHECKPOINT[:MODE]``
``python -m scripts.bench_decoding --name multi30k --runs runs/multi30k --modes plain,fast,ct2``
``python -m scripts.bench_decoding --name gpu --runs DIR --device cuda --dtype bf16``

All systems translate the same batches with the same beam and length penalty, taking turns in an
order that rotates, after a warm-up of each. Timed: the search, the encoder included,
from ready-made batches to subwords. Not timed: loading, tokenising, batching, detokenising. Words
are those of the detokenised output; the latency is that of single sentences (batch 1). The output
of all repeats must be the same; a system that fails is marked. BLEU is of the whole test set, in
batches of the largest size; its hypotheses are kept by their hash, and systems that should be alike
are compared by a paired bootstrap. With ``--untrained`` (see `untrained`) there is speed alone.

Writes ``NAME.json`` (the record), ``NAME.md`` and ``NAME.{png,svg}``; the latter come from the
record alone (``--table-only``). What is measured lies in ``NAME.unfinished`` until then: after an
interruption the same command, at the same commit, goes on with the next batch size. Modes: see
`scripts.bench_decoding.systems`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from fairseq_memtx.ground import command_line, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import sha256_of, write_bytes, write_json
from fairseq_memtx.ground.versions import versions
from scripts.bench_decoding import checks as decoding_checks
from scripts.bench_decoding.systems import DEFAULT_MODES, PRECISIONS, modes, spec
from scripts.shared import provenance as origins
from scripts.shared.unfinished import Unfinished

logger = logging.getLogger(__name__)

SCHEMA = 3
READABLE = (2, 3)  # schemas of records that a page can be made of
OUT = Path("results/decoding")
SYSTEM_HELP = (
    "NAME=CHECKPOINT[:MODE], for each system; MODE is plain (fairseq's search), fast (ours), graph"
    " (ours, in CUDA graphs) or ct2 (CTranslate2); +int8 and +shortlist may follow"
)
PERCENTILES = (50, 90, 99)
#: The processor's counts all threads, and is disturbed less where a busy machine is all there is.
CLOCKS = {"wall": perf_counter, "processor": process_time}


def bench(args: argparse.Namespace) -> dict:
    """Load and measure all systems; the record."""
    import torch

    from scripts.bench_decoding import systems as decoding_systems

    torch.set_num_threads(args.threads)
    made_by = provenance(args)  # before anything is measured
    loaders = decoding_systems.loaders(
        args.system, args.data_bin, fairseq_flags(args), args.shortlist
    )
    loader = loaders[args.system[0].name]
    search = describe_search(loader.config.generation)
    decoding_checks.check_search(args, loader.config.generation)
    decoding_checks.check_lines(args, len(loader.task.dataset("test")))
    parts = Unfinished(args.out / f"{args.name}.unfinished", conditions(args, search, made_by))
    with noted_warnings(parts.notes):
        systems, facts = decoding_systems.load(
            args.system, loaders, args.data_bin, args.shortlist, args.threads, args.dtype
        )
        weighed = parts.part("memory", lambda: weigh(args, systems))
        timed = [
            parts.part(f"batch {size}", partial(time_all, args, systems, size, lines))
            for size, lines in zip(args.batches, args.lines, strict=True)
        ]
        for index, fact in enumerate(facts):
            fact |= weighed[index] | {"speed": [found[index] for found in timed]}
        judged = {"untrained": True} if args.untrained else quality(args, systems, facts, parts)
    return {
        "schema": SCHEMA,
        "name": args.name,
        "search": search,
        "systems": facts,
        "warnings": list(dict.fromkeys(parts.notes)),
        "sessions": parts.sessions,
        **judged,
        **made_by,
    }


def time_all(args: argparse.Namespace, systems: Sequence, size: int, lines: int) -> list[dict]:
    """The speed of each system in batches of ``size``."""
    from scripts.shared import measure

    found = []
    for system, timing in measure.time_systems(
        systems, size, lines, args.repeats, CLOCKS[args.clock]
    ):
        found.append(measured(timing))
        logger.info("%s, batch %d: %s", system.name, size, rate_of(found[-1]))
    return found


def weigh(args: argparse.Namespace, systems: Sequence) -> list[dict]:
    """The memory that each system wants for the largest of the batches, and its state."""
    from scripts.bench_decoding import memory as decoding_memory
    from scripts.shared import measure

    size = max(args.batches)
    batches = measure.make_batches(systems[0], size, args.lines[args.batches.index(size)])
    # past_bytes: of the batch that the peak was looked for with
    return [
        {
            "peak_bytes": decoding_memory.peak_bytes(system, batches),
            "past_bytes": decoding_memory.past_bytes(system),
            "state": decoding_memory.weigh_state(system),
        }
        for system in systems
    ]


def quality(
    args: argparse.Namespace, systems: Sequence, facts: Sequence[dict], parts: Unfinished
) -> dict:
    """What the systems write; their BLEU is added to the facts, their texts are stored."""
    from fairseq_memtx.commands.hypotheses import read_lines
    from scripts.bench_decoding import quality as decoding_quality

    references, size = read_lines(args.references), max(args.batches)
    texts = {
        system.name: parts.part(
            f"text of {system.name}",
            partial(decoding_quality.translate, system, len(references), size),
        )
        for system in systems
    }
    found = decoding_quality.judge(facts, texts, references)
    for text in texts.values():
        decoding_quality.store(args.out / decoding_quality.FOLDER, text)
    return {"test_lines": len(references), "quality_batch": size, "differences": found}


@contextmanager
def noted_warnings(notes: list[str]) -> Iterator[None]:
    """Add what `fairseq_memtx` warns of meanwhile, such as a search that runs in another way."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    watched = logging.getLogger("fairseq_memtx")
    watched.addHandler(handler)
    try:
        yield
    finally:
        watched.removeHandler(handler)


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


def fairseq_flags(args: argparse.Namespace) -> list[str]:
    """fairseq-generate's flags for all systems."""
    precision, _ = PRECISIONS[args.dtype]
    flags = ["--beam", str(args.beam), "--lenpen", str(args.lenpen)]
    flags += ["--cpu"] if args.device == "cpu" else []
    flags += ["--max-len-a", str(args.max_len_a), "--max-len-b", str(args.max_len_b)]
    flags += ["--min-len", str(args.min_len), *precision]
    model = args.data_bin / "sentencepiece.bpe.model"
    if model.is_file():
        flags += ["--bpe", "sentencepiece", "--sentencepiece-model", str(model)]
    return [*flags, *args.fairseq_args]


def describe_search(config) -> dict:
    """The search of all systems, from fairseq's settings."""
    return {
        "beam": config.beam,
        "lenpen": config.lenpen,
        "max_len": [config.max_len_a, config.max_len_b],
        "min_len": config.min_len,
    }


def conditions(args: argparse.Namespace, search: dict, made_by: dict) -> dict:
    """What must be the same for a run to go on after another."""
    files = {one.checkpoint for one in args.system} | ({args.shortlist} - {None})
    return {
        "files": {str(path): sha256_of(path) for path in sorted(files)},
        "systems": [[one.name, str(one.checkpoint), one.mode_name] for one in args.system],
        "data": [str(args.data_bin), str(args.references), str(args.shortlist)],
        "lines": [list(args.batches), list(args.lines), args.repeats],
        "flags": fairseq_flags(args),
        "search": search,
        "made_by": {name: value for name, value in made_by.items() if name != "dirty"},
    }


def provenance(args: argparse.Namespace) -> dict:
    """What the record says of its making."""
    from scripts.shared import measure

    commit, dirty = origins.git_state()
    words = ["python", "-m", "scripts.bench_decoding", *sys.argv[1:]]
    return {
        "threads": args.threads,
        "clock": args.clock,
        "dtype": args.dtype,
        "command": shell.shell_line(words),
        "versions": {**versions(), **ctranslate2_version()},
        "hardware": origins.hardware(measure.device_name(args.device == "cuda")),
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
    """Write the table of a record and, where there is BLEU, the plots.

    Raises:
        UserError: if there is no record, or it is damaged.
    """
    from fairseq_memtx.ground import figures
    from scripts.bench_decoding import report as decoding_report

    path = folder / f"{name}.json"
    record = read_record(path)
    try:
        page = decoding_report.page(record)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise UserError(f"the record `{path}` is damaged ({problem})") from error
    written = folder / f"{name}.md"
    write_bytes(written, page.encode())
    if record.get("untrained"):
        return [written]
    return [written, *figures.save(decoding_report.figure(record), folder / name)]


def read_record(path: Path) -> dict:
    """The record of a run.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    if not path.is_file():
        raise UserError(f"there is no record `{path}`: run the benchmark first")
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"`{path}` is not JSON: {error}") from None
    if not isinstance(record, dict) or record.get("schema") not in READABLE:
        raise UserError(f"`{path}` is not a record of this benchmark")
    return record


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding``."""
    parser = argparse.ArgumentParser(
        prog="scripts.bench_decoding", description=__doc__.split("\n")[0]
    )
    add, whole = parser.add_argument, command_line.positive_int
    add("--name", required=True, help="of the record, such as multi30k")
    add("--data-bin", type=Path, help="fairseq's binarised data; default with --runs: its own")
    add("--references", type=Path, help="default: refs/test.TARGET beside --data-bin")
    add("--system", type=spec, action="append", default=[], help=SYSTEM_HELP)
    add("--runs", type=Path, help="folder of an experiment: all of its finished runs")
    known = "; ".join(f"on {name} {','.join(each)}" for name, each in DEFAULT_MODES.items())
    add("--modes", type=modes, help=f"of all runs, such as fast+int8,ct2; default: {known}")
    add("--device", choices=DEFAULT_MODES, default="cpu", help="of every system; default: cpu")
    add("--dtype", choices=PRECISIONS, default="float32", help="of every system; default: float32")
    add("--untrained", action="store_true", help="the models are: measure speed alone")
    add("--shortlist", type=Path, help="file of `memtx shortlist`, for the mode shortlist")
    add("--batches", type=command_line.int_list, default=(1, 8, 32, 128),
        help="sentences in each; default: 1,8,32,128")  # fmt: skip
    add("--lines", type=command_line.int_list, default=(100, 400, 1000, 1000),
        help="of the test set, as many at each batch size; default: 100,400,1000,1000")  # fmt: skip
    add("--repeats", type=whole, default=5, help="of each system; default: 5")
    add("--threads", type=whole, default=1, help="threads of every system; default: 1")
    add("--clock", choices=CLOCKS, default="wall", help="processor: for a busy CPU, one thread")
    add("--beam", type=whole, default=5, help="default: 5")
    add("--lenpen", type=float, default=1.0, help="length penalty; default: 1")
    add(
        "--max-len-a",
        type=float,
        default=1.2,
        help="subwords at most: so many times the source's; default: 1.2",
    )
    add("--max-len-b", type=whole, default=10, help="and so many more; default: 10")
    add("--min-len", type=whole, default=1, help="subwords at least; default: 1")
    add("--out", type=Path, default=OUT, help=f"folder; default: {OUT}")
    add("--table-only", action="store_true", help="make table and plots from the record there is")
    add("--fairseq-args", nargs=argparse.REMAINDER, default=[], help="last: more of its flags")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Check, measure and write the record."""
    from scripts.bench_decoding import quality as decoding_quality
    from scripts.shared import measure

    decoding_checks.check(args)
    args.out.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # fairseq uses Hydra and torch in ways that they discourage
        warnings.simplefilter("ignore")
        with measure.models_errors():
            record = bench(args)
    write_json(args.out / f"{args.name}.json", record)
    (args.out / f"{args.name}.unfinished").unlink(missing_ok=True)
    try:
        every = [read_record(path) for path in sorted(args.out.glob("*.json"))]
        decoding_quality.prune(args.out / decoding_quality.FOLDER, every)
    except UserError as error:
        logger.info("texts of earlier runs are left where they are: %s", error)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding``."""
    args = parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch is imported

    def work() -> None:
        if not args.table_only:
            run(args)
        for path in report(args.out, args.name):
            logger.info("wrote %s", path)

    return command_line.run(work)
