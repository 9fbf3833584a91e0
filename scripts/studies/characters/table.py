"""The table of ``scripts.studies.char_lm``, from its records and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from scripts.shared.benchmark import spread

if TYPE_CHECKING:
    from scripts.shared.report import Figures

COLUMNS = ("alone", "in order", "longer")
MEANINGS = {
    "validation": "validation: blocks in training's way.",
    "alone": "alone: the test set in blocks that begin with nothing.",
    "in order": "in order: the test set in one row, memory carried over the blocks; for the"
    " Transformer, which carries nothing, blocks that overlap.",
    "longer": "longer: with longer memories than in training.",
}


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The page, for `scripts.shared.report`; there is no plot."""
    return table(found), {}


def table(records: Sequence[dict]) -> str:
    """The whole page: a row for each model, and what the numbers mean."""
    names = list(dict.fromkeys(record["model"] for record in records))
    by_name = {name: [r for r in records if r["model"] == name] for name in names}
    column = "in order" if bits(records, "in order") else "alone"
    order = sorted(names, key=lambda name: median(bits(by_name[name], column)), reverse=True)
    head = ("model", "runs", "parameters", "validation", *COLUMNS)
    lines = [
        f"# {records[0]['experiment']}",
        "",
        f"| {' | '.join(head)} |",
        "|---" + "|---:" * (len(head) - 1) + "|",
        *(row(name, by_name[name]) for name in order),
        "",
        *conditions([by_name[name][0] for name in order], records),
    ]
    return "\n".join(lines) + "\n"


def row(name: str, runs: Sequence[dict]) -> str:
    """One model."""
    valid = [run["training"]["valid_nll_loss"] for run in runs]
    cells = [name, str(len(runs)), f"{runs[0]['parameters']:,}", cell(valid)]
    cells += [cell(bits(runs, column)) for column in COLUMNS]
    return f"| {' | '.join(cells)} |"


def bits(runs: Sequence[dict], column: str) -> list[float]:
    """What an evaluation gave, in bits for each character; nothing where there is none."""
    return [run["evaluations"][column]["bits"] for run in runs if column in run["evaluations"]]


def cell(values: Sequence[float]) -> str:
    """Median (least-most); of one value itself, of none nothing."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return spread(values, 3)


def conditions(models: Sequence[dict], records: Sequence[dict]) -> list[str]:
    """What the numbers mean and how they were taken."""
    first = records[0]
    counts, training = first["data"]["characters"], first["training"]
    facts = [
        "Bits for each character, line ends included; median (least-most) over seeds."
        f" Text: {first['data']['text']}, {counts['train']:,} / {counts['valid']:,} /"
        f" {counts['test']:,} characters for training, validation and test, cut in this order;"
        f" {first['data']['types']} different ones.",
        f"{joined(r['training']['updates'] for r in records)} updates of {first['rows']} rows of"
        f" {first['block']} characters, {training['target_tokens']:,} in all"
        f" ({training['epochs']:.0f} passes begun); {first['depth']} layers, everything but the"
        " feed-forward dimension alike, which makes up for what the memories add or save.",
        " ".join(
            text for name, text in MEANINGS.items() if name == "validation" or bits(records, name)
        ),
    ]
    facts += [describe(model) for model in models]
    facts += [
        f"{joined(r['threads'] for r in records)} thread(s), float32, on"
        f" {joined(r['hardware']['cpu'] for r in records)}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(first["versions"].items()))
        + f". Commit {joined(commit(r) for r in records)}.",
    ]
    return [f"- {fact}" for fact in facts]


def describe(model: dict) -> str:
    """What each position of a model sees in training and in each evaluation."""
    seen = [f"{name}: {one['context']}" for name, one in ordered(model["evaluations"])]
    return f"{model['model']} sees, in training: {model['reach']}; {'; '.join(seen)}."


def ordered(evaluations: dict) -> list[tuple[str, dict]]:
    """The evaluations in the order of the columns."""
    return [(name, evaluations[name]) for name in COLUMNS if name in evaluations]


def commit(record: dict) -> str:
    """The short commit, with a note where tracked files were changed."""
    return record["commit"][:12] + (" with changes" if record["dirty"] else "")


def joined(values) -> str:
    """The distinct values, in order."""
    return ", ".join(dict.fromkeys(map(str, values)))
