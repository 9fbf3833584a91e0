"""What `bench_decoding` refuses, each in one line, before anything is measured."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground.errors import UserError
from scripts.bench_decoding.systems import DEFAULT_MODES, Spec, of_runs
from scripts.shared import gpu as benchmark_gpu


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be measured before anything is measured; complete what is given."""
    if args.runs is not None:
        wanted = args.modes or DEFAULT_MODES[args.device]
        args.system = [*args.system, *of_runs(args.runs, wanted)]
        args.data_bin = args.data_bin or args.runs / "data" / "bin"
    if args.data_bin is None or not args.system:
        raise UserError(
            "give `--data-bin` and `--system`, or `--runs`: only `--table-only` does without"
        )
    for one in args.system:
        check_system(one, args.shortlist)
    names = [one.name for one in args.system]
    if len(set(names)) < len(names):
        raise UserError(f"`--system` has the same name twice: {', '.join(names)}")
    check_data(args)
    check_sizes(args)
    check_device(args)


def check_system(one: Spec, shortlist: Path | None) -> None:
    """Refuse a system whose files are missing."""
    if not one.checkpoint.is_file():
        raise UserError(
            f"there is no checkpoint `{one.checkpoint}` of `{one.name}`: check the path"
        )
    if "shortlist" in one.mode and (shortlist is None or not shortlist.is_file()):
        raise UserError(f"`--shortlist` is {shortlist}: `{one.name}` needs a file")


def check_data(args: argparse.Namespace) -> None:
    """Refuse a folder without a test set; find its references."""
    found = sorted(args.data_bin.glob("test.*-*.*.idx"))
    if not found:
        raise UserError(f"`{args.data_bin}` holds no binarised test set")
    pair = found[0].name.split(".")[1]
    for language in pair.split("-"):
        sides = [f"test.{pair}.{language}.{end}" for end in ("idx", "bin")]
        for name in [f"dict.{language}.txt", *sides]:
            if not (args.data_bin / name).is_file():
                raise UserError(f"`{args.data_bin}` holds no {name}")
    if args.references is None:
        args.references = args.data_bin.parent / "refs" / f"test.{pair.split('-')[1]}"
    if not args.untrained and not args.references.is_file():
        raise UserError(f"there is no file `{args.references}` of references: check the path")


def check_sizes(args: argparse.Namespace) -> None:
    """Refuse numbers that do not go together."""
    if len(args.lines) != len(args.batches):
        raise UserError(
            f"`--lines` has {len(args.lines)} numbers: it has to have {len(args.batches)}, as"
            " `--batches`"
        )
    for size, lines in zip(args.batches, args.lines, strict=True):
        if lines < size:
            raise UserError(f"`--lines` is {lines}: it has to be at least the batch size {size}")
    if len(set(args.batches)) < len(args.batches):
        raise UserError(
            f"`--batches` has the same number twice: {', '.join(map(str, args.batches))}"
        )
    if args.untrained and (args.max_len_a != 0 or args.min_len != args.max_len_b):
        raise UserError(
            "`--untrained` needs one length for all, `--max-len-a 0 --max-len-b N --min-len N`,"
            f" not {args.max_len_a:g}, {args.max_len_b} and {args.min_len}"
        )


def check_device(args: argparse.Namespace) -> None:
    """Refuse modes, precisions and clocks that the device does not know, and a missing GPU."""
    given = {"--cpu", "--fp16", "--bf16"} & set(args.fairseq_args)
    if given:
        raise UserError(
            f"leave {min(given)} out of `--fairseq-args`: there are `--device` and `--dtype`"
        )
    if args.clock == "processor" and (args.device == "cuda" or args.threads > 1):
        name, value = ("device", "cuda") if args.device == "cuda" else ("threads", args.threads)
        wanted = "cpu" if name == "device" else 1
        raise UserError(f"`--{name}` is {value}: it has to be {wanted} with `--clock processor`")
    if args.device == "cpu" and args.dtype != "float32":
        raise UserError(f"`--dtype` is {args.dtype}: it has to be float32 with `--device cpu`")
    for one in args.system:
        if args.device == "cpu" and one.mode[0] == "graph":
            raise UserError(
                f"`--device` is cpu: it has to be cuda for the mode graph of `{one.name}`"
            )
        if args.device == "cuda" and "int8" in one.mode and one.mode[0] != "ct2":
            raise UserError(
                "`--device` is cuda: it has to be cpu for our weights in eight bits of"
                f" `{one.name}`"
            )
    if args.device == "cuda":
        benchmark_gpu.require()


def check_search(args: argparse.Namespace, settings: Any) -> None:
    """Refuse settings of fairseq's search that CTranslate2 would not be given."""
    from fairseq.dataclass.configs import GenerationConfig

    if not any(one.mode[0] == "ct2" for one in args.system):
        return
    known = {"beam", "lenpen", "max_len_a", "max_len_b", "min_len"}
    for field in dataclasses.fields(GenerationConfig):
        if field.name not in known and getattr(settings, field.name) != field.default:
            flag = "--" + field.name.replace("_", "-")
            raise UserError(
                f"`--fairseq-args` changes {flag}, which the mode ct2 does not know: leave out one"
                " of them"
            )


def check_lines(args: argparse.Namespace, count: int) -> None:
    """Refuse more lines than the test set has, and references that are not its own."""
    if max(args.lines) > count:
        raise UserError(
            f"`--lines` is {max(args.lines)}: it has to be at most {count}, the lines of the test"
            " set"
        )
    if not args.untrained and len(read_lines(args.references)) != count:
        raise UserError(
            f"`{args.references}` has {len(read_lines(args.references))} lines: it has to have"
            f" {count}, as the test set"
        )
