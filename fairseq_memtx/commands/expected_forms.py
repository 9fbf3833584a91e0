"""Whether translations in context have the form that the context asks for: ctxpro's suites.

For `memtx score --model M --contrastive SUITE.json` with a suite of ctxpro (Wicks and Post 2023,
"Identifying Context-Dependent Translations for Evaluation Set Production"), which has no wrong
variants: an entry names the form (`expected`: a pronoun, a verb) that the reference has. The model
translates the source after its context, sentence by sentence, and the form is looked for among the
words of the last translation, without regard to case and punctuation, as ctxpro does.

Its files of inputs have a line for each entry of the JSON: the context's sentences and the source,
`<eos>` after each but the last.
"""

from __future__ import annotations

import argparse
import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_memtx.commands import model_scores
from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground.errors import UserError

#: Between the sentences of an input.
BREAK = "<eos>"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class ExpectedForm(NamedTuple):
    """An entry of a suite.

    Attributes:
        sentences: the context, and the source last.
        expected: what its translation has to have.
        rule: of ctxpro, by which it was found.
    """

    sentences: list[str]
    expected: str
    rule: str


def is_suite(entries: Any) -> bool:
    """Whether what a JSON file holds is such a suite."""
    return isinstance(entries, list) and any(
        isinstance(one, dict) and "expected" in one and "errors" not in one for one in entries
    )


def read_forms(
    path: Path, entries: Sequence[Any], inputs: Path | None, context: int
) -> list[ExpectedForm]:
    """The entries of a suite.

    Args:
        path: of the JSON, for messages.
        entries: what it holds.
        inputs: a line for each of them; None for no context.
        context: sentences of it that are used, -1 for all.

    Raises:
        UserError: where an entry lacks something, or the inputs are those of another suite.
    """
    try:
        told = [(one["src segment"], one["expected"], one["rule"]) for one in entries]
    except (KeyError, TypeError) as error:
        raise UserError(f"`{path}` is no suite in ctxpro's JSON: {error!r}") from error
    lines = [source for source, _, _ in told] if inputs is None else read_lines(inputs)
    if len(lines) != len(told):
        raise UserError(
            f"`{inputs}` has {len(lines)} lines, but `{path}` has {len(told)} entries: each has to"
            " have one"
        )
    forms = []
    for number, (line, (source, expected, rule)) in enumerate(zip(lines, told, strict=True), 1):
        *before, last = [part.strip() for part in line.split(BREAK)]
        if letters(last) != letters(source):
            raise UserError(f"line {number} of `{inputs}` does not end with the suite's: {source}")
        kept = before if context < 0 else before[max(0, len(before) - context) :]
        forms.append(ExpectedForm([*kept, last], expected, rule))
    return forms


def letters(text: str) -> str:
    """A text without what tokenisers change."""
    return "".join(c for c in text if c.isalnum())


def has_form(translation: str, expected: str) -> bool:
    """Whether a translation has a form among its words."""
    words = translation.lower().translate(_NO_PUNCTUATION).split()
    return f" {expected.lower()} " in f" {' '.join(words)} "


def print_accuracy(args: argparse.Namespace, entries: Sequence[Any]) -> None:
    """Translate, and write what was found to standard output, as JSON.

    Raises:
        UserError: where a file or the model cannot be used, or the model gives no numbers.
    """
    forms = read_forms(args.contrastive, entries, args.contrastive_inputs, args.context)
    try:
        found = model_scores.load(args).translate_documents([form.sentences for form in forms])
    except FloatingPointError as error:
        raise UserError(str(error)) from error
    print(json.dumps(accuracy(forms, [lines[-1] for lines in found]), indent=2))


def accuracy(forms: Sequence[ExpectedForm], translations: Sequence[str]) -> dict[str, Any]:
    """How many translations have the form expected, all together and by rule."""
    rules: dict[str, dict[str, int]] = {}
    for form, translation in zip(forms, translations, strict=True):
        counts = rules.setdefault(form.rule, {"lines": 0, "right": 0})
        counts["lines"] += 1
        counts["right"] += has_form(translation, form.expected)
    right = sum(counts["right"] for counts in rules.values())
    share = round(100 * right / len(forms), 2)
    return {"lines": len(forms), "right": right, "accuracy": share, "rules": rules}
