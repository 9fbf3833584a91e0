"""A model's own scores of given translations, for `memtx score --model`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground import command_line, cores
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.text import TextSteps
from fairseq_memtx.translation import formats

if TYPE_CHECKING:
    from fairseq_memtx.translation.results import Translation
    from fairseq_memtx.translator import Translator

BLOCK = 2000  # lines sorted together


def print_scores(args: argparse.Namespace) -> None:
    """Write a line for each pair to standard output.

    Raises:
        UserError: where a file or a pair cannot be used, or the model gives no numbers.
    """
    sources, hypotheses = read_lines(args.source), read_lines(args.hypotheses)
    if len(sources) != len(hypotheses):
        raise UserError(
            f"`--hypotheses {args.hypotheses}` has {len(hypotheses)} lines, but `--source"
            f" {args.source}` has {len(sources)}: each line has to have one"
        )
    try:
        translator = load(args)
        with Progress("score", len(sources)) as progress:
            for first in range(0, len(sources), BLOCK):
                block = slice(first, first + BLOCK)
                found = translator.score(sources[block], hypotheses[block], progress.add, first)
                lines = "".join(f"{line}\n" for line in told(found, first, args.format))
                sys.stdout.buffer.write(lines.encode())
                sys.stdout.buffer.flush()
    except FloatingPointError as error:
        raise UserError(str(error)) from error


def told(found: Sequence[Translation], first: int, form: str) -> Iterator[str]:
    """The lines of output.

    Args:
        found: the scores.
        first: the number of the first line, from 0.
        form: `columns` or `jsonl`.
    """
    for number, one in enumerate(found, first + 1):
        size = len(one.subword_scores)
        if form == "columns":
            yield f"{formats.fixed(one.log_prob)}\t{size}\t{formats.fixed(one.score)}"
        else:
            total: dict[str, Any] = {
                "line": number,
                "log_prob": round(one.log_prob, formats.DIGITS),
            }
            told = {**total, "source_subwords": one.source_subwords, **formats.as_object(one)}
            yield json.dumps(told, ensure_ascii=False)


def load(args: argparse.Namespace) -> Translator:
    """The model that the command line names."""
    import torch

    from fairseq_memtx.translator import SearchSettings, Translator

    torch.set_num_threads(args.threads)
    settings = SearchSettings(
        batch_size=args.batch_size, max_tokens=args.max_tokens, alignment=args.alignment
    )
    steps = None if args.tokenizer is None else TextSteps(args.tokenizer)
    return Translator.from_pretrained(
        args.model, args.data, settings, args.device, args.half, args.int8, steps
    )


def refuse_contradictions(args: argparse.Namespace, defaults: dict[str, Any]) -> None:
    """Refuse flags that the other kind of score has.

    Args:
        args: of the command.
        defaults: of the flags that need `--model`.

    Raises:
        UserError: for the first of them, or where the kind cannot be told.
    """
    if args.model is None:
        if args.references is None:
            raise UserError("name `--references` for BLEU and chrF, or `--model` for its own score")
        for name, default in defaults.items():
            if getattr(args, name) != default:
                flag = "--" + name.replace("_", "-")
                raise UserError(f"`{flag}` does nothing without `--model`: give both or neither")
        if args.comet is not None and args.source is None:
            raise UserError("`--comet` needs `--source`, the lines that were translated")
        return
    for name in ("references", "baseline", "comet"):
        if getattr(args, name) is not None:
            raise UserError(f"`--{name}` and `--model` exclude each other: leave one out")
    if args.source is None:
        raise UserError("`--model` needs `--source`, the lines that were translated")
    if args.alignment and args.format != "jsonl":
        raise UserError("`--alignment` needs `--format jsonl`")


def add_flags(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The flags of a model's scores; the result is their defaults."""
    whole = command_line.positive_int
    title = "a model's own score of each hypothesis, in place of BLEU and chrF"
    group = parser.add_argument_group(title)
    add = group.add_argument
    add("--model", type=lambda names: [Path(name) for name in names.split(":")],
        help="model, or several of an ensemble separated by colons")  # fmt: skip
    add("--format", choices=("columns", "jsonl"), default="columns",
        help="columns: log-probability, number of subwords with the end symbol, and the first over"
        " the second, tab-separated; jsonl: an object, with the scores of subwords")  # fmt: skip
    add("--alignment", action="store_true", help="in jsonl, of subwords and of words")
    add("--data", type=Path, help="folder of the binarised data (default: as in training)")
    add("--batch-size", type=whole, default=64, help="pairs at once")
    add("--max-tokens", type=whole, default=4000, help="subwords of the longer side at once")
    add("--tokenizer", choices=("none", "moses"), help="default: as the data was prepared")
    add("--device", default="cpu", help="cpu or cuda")
    add("--int8", action="store_true", help="weights in eight bits; CPU only")
    add("--half", action="store_true", help="half precision")
    add("--threads", type=cores.thread_count, default=cores.default_threads())
    return {action.dest: action.default for action in group._group_actions}
