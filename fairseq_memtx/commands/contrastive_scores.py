"""Whether a model takes references for likelier than wrong variants, in the context of documents.

For `memtx score --model M --contrastive SUITE`. A line of the suite is, tab-separated: the
document's id, the source, the reference and any number of wrong variants; lines of a document
follow each other. A line without variants is context alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_memtx.commands import model_scores
from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground.errors import UserError


class Line(NamedTuple):
    """A sentence of a suite; the first of its translations is the right one."""

    document: str
    source: str
    translations: list[str]


def print_accuracy(args: argparse.Namespace) -> None:
    """Write what was found to standard output, as JSON.

    Raises:
        UserError: where a file or the model cannot be used, or the model gives no numbers.
    """
    documents = read_suite(args.contrastive)
    try:
        found = model_scores.load(args).score_documents(
            [[line.source for line in lines] for lines in documents],
            [[line.translations for line in lines] for lines in documents],
            args.context,
        )
    except FloatingPointError as error:
        raise UserError(str(error)) from error
    print(json.dumps(accuracy([scores for lines in found for scores in lines]), indent=2))


def read_suite(path: Path) -> list[list[Line]]:
    """The documents of a suite.

    Raises:
        UserError: a line without a reference, or a suite without variants.
    """
    lines = list(_lines(path))
    if not any(len(line.translations) > 1 for line in lines):
        raise UserError(f"`{path}` has no line with a variant in a fourth column: nothing to score")
    return [list(some) for _, some in groupby(lines, key=lambda line: line.document)]


def _lines(path: Path) -> Iterator[Line]:
    for number, text in enumerate(read_lines(path), 1):
        columns = text.split("\t")
        if len(columns) < 3:
            raise UserError(
                f"`{path}` line {number} has {len(columns)} columns: it has to have a document's"
                " id, a source, a reference and any variants, with tabs between them"
            )
        yield Line(columns[0], columns[1], columns[2:])


def accuracy(scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """How many references are likelier than all of their variants.

    Args:
        scores: of each line the reference's, then those of its variants.
    """
    contrasted = [some for some in scores if len(some) > 1]
    right = sum(some[0] > max(some[1:]) for some in contrasted)
    return {
        "lines": len(scores),
        "contrasted": len(contrasted),
        "variants": sum(len(some) - 1 for some in contrasted),
        "right": right,
        "accuracy": round(100 * right / len(contrasted), 2),
    }


def refuse_contradictions(args: argparse.Namespace) -> None:
    """Refuse flags of other kinds of score, and ours without a suite.

    Raises:
        UserError: for the first of them.
    """
    if args.contrastive is None:
        if args.context != -1:
            raise UserError(
                "`--context` does nothing without `--contrastive`: give both or neither"
            )
        return
    for name in ("hypotheses", "references", "source", "baseline"):
        if getattr(args, name) is not None:
            raise UserError(f"`--{name}` and `--contrastive` exclude each other: leave one out")
    if args.model is None:
        raise UserError("`--contrastive` needs `--model`, whose scores are compared")
    if args.context < -1:
        raise UserError(f"`--context` is {args.context}: it has to be at least -1")
    if args.alignment or args.format != "columns":
        raise UserError(
            "`--alignment` and `--format` do nothing with `--contrastive`: leave them out"
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of contrastive scores."""
    add = parser.add_argument_group("references against wrong variants, with --model").add_argument
    add("--contrastive", type=Path, metavar="SUITE",
        help="tab-separated: document's id, source, reference, wrong variants")  # fmt: skip
    add("--context", type=int, default=-1, metavar="N",
        help="sentences before a sentence that its memory is made of (default: all)")  # fmt: skip
