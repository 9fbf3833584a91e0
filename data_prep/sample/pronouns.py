"""Scoring the choice of er, sie and es, from the `.pronouns` records.

Each record is a JSON object: ``line`` (from 1), ``position`` (word of the German line, from 0),
``pronoun`` (as in the middle of a sentence), ``alternatives`` (the forms that the other genders
would have), ``antecedent``, ``gender``, ``case`` and ``distance`` (sentences back to the last
naming; 0 is the same sentence, which needs no context).  Two uses:

- contrastive: `contrasts` gives the German line with each wrong choice, for a model to score
  against the right line;
- on hypotheses: `accuracy` looks whether a translation has the expected form and none of the
  alternatives.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .morphology import PERSONAL
from .surface import capitalised

Record = Mapping[str, Any]


def read_records(path: str | Path) -> dict[int, list[Record]]:
    """The records of a `.pronouns` file by line number (from 1)."""
    by_line: dict[int, list[Record]] = defaultdict(list)
    for row in Path(path).read_text(encoding="utf-8").split("\n"):
        if row:
            record = json.loads(row)
            by_line[record["line"]].append(record)
    return dict(by_line)


def contrasts(german_line: str, records: Sequence[Record]) -> list[str]:
    """The line as it would be for each other gender; all its pronouns change together.

    Raises:
        ValueError: a record does not belong to the line.
    """
    words = german_line.split(" ")
    for record in records:
        if _bare(words[record["position"]]) != record["pronoun"]:
            raise ValueError(
                f"`position` points at {words[record['position']]!r} instead of"
                f" {record['pronoun']!r}"
            )
    others = (_with_gender(words, records, gender) for gender in "mfn")
    return [line for line in dict.fromkeys(others) if line != german_line]


def _bare(word: str) -> str:
    return word.strip(".,?").lower()


def _with_gender(words: Sequence[str], records: Sequence[Record], gender: str) -> str:
    changed = list(words)
    for record in records:
        position = record["position"]
        old, form = changed[position], PERSONAL[record["case"]][gender]
        form = capitalised(form) if old[0].isupper() else form
        changed[position] = form + old[len(record["pronoun"]) :]
    return " ".join(changed)


def is_right(hypothesis: str, record: Record) -> bool:
    """Whether a translation has the expected pronoun and none of its alternatives.

    A strict reading: a line whose other words include such a form (*sie* for *they*) counts as
    wrong when it is among the alternatives.
    """
    words = {_bare(word) for word in hypothesis.split()}
    return record["pronoun"] in words and not words & set(record["alternatives"])


def accuracy(
    hypotheses: Sequence[str], records: Mapping[int, Sequence[Record]]
) -> dict[str, dict[str, float]]:
    """Share of right pronouns by distance (``"0"``, ``"1"`` ...) and in ``"context"`` together.

    `hypotheses` are the translations of the whole split in order.

    Raises:
        ValueError: a record's line is beyond the hypotheses.
    """
    results: dict[str, list[bool]] = defaultdict(list)
    for line, line_records in sorted(records.items()):
        if line > len(hypotheses):
            raise ValueError(
                f"`hypotheses` has {len(hypotheses)} lines: it has to have {line} or more"
            )
        for record in line_records:
            right = is_right(hypotheses[line - 1], record)
            results[str(record["distance"])].append(right)
            if record["distance"] > 0:
                results["context"].append(right)
    return {name: _share(values) for name, values in sorted(results.items())}


def _share(values: Iterable[bool]) -> dict[str, float]:
    listed = list(values)
    return {"pronouns": len(listed), "right": sum(listed), "share": sum(listed) / len(listed)}
