"""The table of ``scripts.studies.documents``, from its records and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.studies.document_configs import CONTEXTS, SYSTEMS

if TYPE_CHECKING:
    from scripts.shared.report import Figures

DISTANCES = ("0", "1", "2", "3", "4", "5")


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The page, for `scripts.shared.report`; there is no plot."""
    return table(found), {}


def table(records: Sequence[dict]) -> str:
    """The whole page: pronouns by distance, pronouns and BLEU by context, what they mean."""
    by_name = {record["system"]: record for record in records}
    ordered = [by_name[name] for name in SYSTEMS if name in by_name]
    counts = ordered[0]["contexts"]["all"]["pronouns"]
    lines = [f"# {ordered[0]['experiment']}", "", *distances(ordered), ""]
    if any(len(record["contexts"]) > 1 for record in ordered):
        lines += ["With the memory cut to its last sentences:", "", *cuts(ordered), ""]
    told = ", ".join(
        f"{counts[name]['pronouns']} at {name}" for name in DISTANCES if name in counts
    )
    return "\n".join([*lines, *conditions(ordered, told)]) + "\n"


def distances(records: Sequence[dict]) -> list[str]:
    """The share of right pronouns by distance, and the scores, with all context."""
    head = ["system", "BLEU", "d-BLEU", "pronouns, context needed"]
    head += [f"distance {name}" for name in DISTANCES]
    rows = []
    for record in records:
        scores = record["contexts"]["all"]
        right = scores["pronouns"]
        row = [record["system"], f"{scores['bleu']['score']:.2f}"]
        row += [f"{scores['document_bleu']['score']:.2f}", percent(right.get("context"))]
        rows.append([*row, *(percent(right.get(name)) for name in DISTANCES)])
    return markdown(head, rows)


def cuts(records: Sequence[dict]) -> list[str]:
    """Pronouns and BLEU by the number of sentences that the memory is made of."""
    names = ["all" if context < 0 else str(context) for context in CONTEXTS]
    head = ["decoder", *(f"{name} sentences: pronouns, BLEU" for name in names)]
    rows = []
    for record in records:
        if len(record["contexts"]) == 1:
            continue
        found = [record["contexts"][name] for name in names]
        cells = [
            f"{percent(one['pronouns'].get('context'))}, {one['bleu']['score']:.2f}"
            for one in found
        ]
        rows.append([record["system"], *cells])
    return markdown(head, rows)


def percent(count: dict | None) -> str:
    """The share that is right; nothing where there is none."""
    return "" if count is None else f"{100 * count['right'] / count['pronouns']:.1f} %"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table."""
    aligned = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, aligned, *rows)]


def conditions(records: Sequence[dict], told: str) -> list[str]:
    """What the numbers mean and how they were taken."""
    first = records[0]
    sizes, scores = first["sizes"], first["contexts"]["all"]
    minutes = {
        record["system"]: sum(record["training"]["processor_seconds"]) / 60 for record in records
    }
    facts = [
        f"The sample corpus, {sizes['documents']:,} documents; translated are those of its"
        f" validation and test set. Pronouns whose gender an earlier sentence tells, and those"
        f" whose antecedent is in the same sentence (distance 0): {told}. The three genders are"
        " equally frequent. A pronoun is right where the line has the expected form and none of"
        " the others, whatever else is in it.",
        f"`sentence` is a Transformer-XL that sees single sentences, `concatenated-2`"
        " fairseq's Transformer on two sentences as one; the others carry their memory from"
        f" sentence to sentence. {sizes['layers']} layers of dimension {sizes['dim']},"
        f" {sizes['first']} updates on single sentences and {sizes['second']} after that, of at"
        f" most {sizes['max_tokens']:,} tokens; `concatenated-2` from the start. One seed.",
        f"BLEU `{scores['bleu']['signature']}` over lines, d-BLEU the same over documents, each"
        f" joined to one line. Beam {first['beam']}. Context: the memory is made anew of so many"
        " sentences before each, with the translations made for them.",
        "Processor minutes of training: "
        + ", ".join(f"{name} {spent:.1f}" for name, spent in minutes.items())
        + f". One thread, {first['hardware']['cpu']}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(first["versions"].items()))
        + f". Commit {', '.join(dict.fromkeys(commit(record) for record in records))}.",
    ]
    return [f"- {fact}" for fact in facts]


def commit(record: dict) -> str:
    """The short commit, with a note where tracked files were changed."""
    return record["commit"][:12] + (" with changes" if record["dirty"] else "")
