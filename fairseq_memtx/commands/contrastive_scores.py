"""Whether a model takes references for likelier than wrong variants, in the context of documents.

For `memtx score --model M --contrastive SUITE`. A line of the suite is, tab-separated: the
document's id, the source, the reference and any number of wrong variants; lines of a document
follow each other. A line without variants is context alone.

ContraPro (Mueller et al. 2018) is read in two forms too. Its JSON has no context: that is taken
from the documents of OpenSubtitles, which its script extracts, where their folder is named. In the
tab-separated form of Post and Junczys-Dowmunt (2023, arXiv 2304.12959) a line is the place of the
sentence that counts, the antecedent's distance, `correct` or `contrastive`, the pronoun, and
source and translation with their context, `<eos>` between the sentences; the wrong variants of a
line follow it. Suites of ctxpro, in which a form is expected, are for `expected_forms`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_memtx.commands import expected_forms, model_scores
from fairseq_memtx.commands.expected_forms import BREAK, letters
from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground.errors import UserError

#: Of a row in the packed form.
KINDS = ("correct", "contrastive")


class Entry(NamedTuple):
    """An entry of ContraPro's JSON; `line` counts from 1."""

    document: str
    line: int
    source: str
    translations: list[str]


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
    if args.contrastive.suffix == ".json":
        entries = _load_json(args.contrastive)
        if expected_forms.is_suite(entries):
            refuse_documents(args)
            expected_forms.print_accuracy(args, entries)
            return
    if args.contrastive_inputs is not None:
        raise UserError("`--contrastive-inputs` is for a suite in ctxpro's JSON: leave it out")
    documents = read_suite(args.contrastive, args.contrastive_documents, args.context)
    try:
        found = model_scores.load(args).score_documents(
            [[line.source for line in lines] for lines in documents],
            [[line.translations for line in lines] for lines in documents],
            args.context,
        )
    except FloatingPointError as error:
        raise UserError(str(error)) from error
    print(json.dumps(accuracy([scores for lines in found for scores in lines]), indent=2))


def read_suite(path: Path, folder: Path | None = None, context: int = -1) -> list[list[Line]]:
    """The documents of a suite.

    Args:
        path: of the suite.
        folder: of the documents that a suite in JSON takes its context from; None for no context.
        context: sentences that it takes from them, -1 for all.

    Raises:
        UserError: a suite that is none of those that can be read, or one without variants.
    """
    if path.suffix == ".json":
        documents = list(_of_json(path, folder, context))
    else:
        rows = [text.split("\t") for text in read_lines(path)]
        packed = rows != [] and all(len(row) == 6 and row[2] in KINDS for row in rows)
        lines = _packed(path, rows) if packed else _plain(path, rows)
        documents = [list(some) for _, some in groupby(lines, key=lambda line: line.document)]
    if not any(len(line.translations) > 1 for lines in documents for line in lines):
        raise UserError(f"`{path}` has no line with a variant in a fourth column: nothing to score")
    return documents


def _plain(path: Path, rows: Sequence[list[str]]) -> Iterator[Line]:
    for number, columns in enumerate(rows, 1):
        if len(columns) < 3:
            raise UserError(
                f"`{path}` line {number} has {len(columns)} columns: it has to have a document's"
                " id, a source, a reference and any variants, with tabs between them"
            )
        yield Line(columns[0], columns[1], columns[2:])


def _packed(path: Path, rows: Sequence[list[str]]) -> Iterator[Line]:
    """Each correct row as a document of its own: its context, and the sentence that counts."""
    number = 0
    while number < len(rows):
        place, _, kind, _, source, target = rows[number]
        if kind != KINDS[0]:
            raise UserError(f"`{path}` line {number + 1} is contrastive, but follows no other line")
        sides = [[part.strip() for part in text.split(BREAK)] for text in (source, target)]
        if not place.isdecimal() or not int(place) < min(map(len, sides)):
            raise UserError(
                f"`{path}` line {number + 1} has no sentence {place} in its source and its target:"
                " they have to have as many, with <eos> between them"
            )
        name, last = str(number), int(place)
        for context, translation in zip(*(side[:last] for side in sides), strict=True):
            yield Line(name, context, [translation])
        translations = [sides[1][last]]
        number += 1
        while number < len(rows) and rows[number][2] == KINDS[1]:
            parts = rows[number][5].split(BREAK)
            if len(parts) <= last:
                raise UserError(f"`{path}` line {number + 1} has no sentence {last} in its target")
            translations.append(parts[last].strip())
            number += 1
        yield Line(name, sides[0][last], translations)


def _of_json(path: Path, folder: Path | None, most: int) -> Iterator[list[Line]]:
    """Each entry as a document of its own: sentences of the document it is from, and its own."""
    entries = _load_json(path)
    try:
        wanted = [
            Entry(
                one["document id"],
                int(one["segment id"]),
                one["src segment"],
                [one["ref segment"], *(error["contrastive"] for error in one["errors"])],
            )
            for one in entries
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"`{path}` is no suite in ContraPro's JSON: {error!r}") from error
    places = {} if folder is None else {one.name: one for one in folder.rglob("*")}
    for number, entry in enumerate(wanted):
        context = [] if folder is None else _before(folder, places, entry)
        context = context if most < 0 else context[max(0, len(context) - most) :]
        yield [
            *(Line(str(number), source, [target]) for source, target in context),
            Line(str(number), entry.source, entry.translations),
        ]


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"`{path}` is no suite in JSON: {error!r}") from error


def _before(folder: Path, places: Mapping[str, Path], entry: Entry) -> list[tuple[str, str]]:
    """The pairs before an entry in its document, of which its id is the target's file name."""
    found = places.get(entry.document)
    if found is None:
        raise UserError(f"`{folder}` has no file `{entry.document}`, which the suite names")
    sources = [one for one in found.parent.glob(f"{found.stem}.*") if one != found]
    if len(sources) != 1:
        raise UserError(f"`{found}` has {len(sources)} other languages beside it: one is needed")
    pairs = list(zip(read_lines(sources[0]), read_lines(found), strict=False))
    if len(pairs) < entry.line or letters(pairs[entry.line - 1][0]) != letters(entry.source):
        raise UserError(f"line {entry.line} of `{sources[0]}` is not the suite's: {entry.source}")
    return pairs[: entry.line - 1]


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
        for name, given in (
            ("context", args.context != -1),
            ("contrastive-documents", args.contrastive_documents is not None),
            ("contrastive-inputs", args.contrastive_inputs is not None),
        ):
            if given:
                raise UserError(
                    f"`--{name}` does nothing without `--contrastive`: give both or neither"
                )
        return
    for name in ("documents", "inputs"):
        given = getattr(args, f"contrastive_{name}") is not None
        if given and args.contrastive.suffix != ".json":
            raise UserError(f"`--contrastive-{name}` is for a suite in JSON: leave it out")
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


def refuse_documents(args: argparse.Namespace) -> None:
    """Refuse the folder of another suite's documents.

    Raises:
        UserError: where it is given.
    """
    if args.contrastive_documents is not None:
        raise UserError(
            "`--contrastive-documents` is for ContraPro's JSON: ctxpro's has `--contrastive-inputs`"
        )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of contrastive scores."""
    add = parser.add_argument_group("references against wrong variants, with --model").add_argument
    add("--contrastive", type=Path, metavar="SUITE",
        help="tab-separated: document's id, source, reference, wrong variants; or ContraPro's JSON"
        " or packed form; or ctxpro's JSON: forms that translations have to have")  # fmt: skip
    add("--contrastive-documents", type=Path, metavar="DIR",
        help="documents that ContraPro's JSON is from (default: no context)")  # fmt: skip
    add("--contrastive-inputs", type=Path, metavar="FILE",
        help="of ctxpro's JSON: a line for each entry, context and source, <eos> between them"
        " (default: no context)")  # fmt: skip
    add("--context", type=int, default=-1, metavar="N",
        help="sentences before a sentence that its memory is made of (default: all)")  # fmt: skip
