"""The table of ``scripts.studies.documents``, from its records and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.studies.pronouns.configs import SYSTEMS

if TYPE_CHECKING:
    from scripts.shared.report import Figures

KINDS = ("pronouns", "contrastive")
DISTANCES = ("0", "1", "2", "3", "4", "5")


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The page, for `scripts.shared.report`; there is no plot."""
    return table(found), {}


def table(records: Sequence[dict]) -> str:
    """The whole page: pronouns by distance, pronouns and BLEU by context, what they mean."""
    by_name = {record["system"]: record for record in records}
    ordered = [by_name[name] for name in SYSTEMS if name in by_name]
    counts = ordered[0]["contexts"]["all"]["pronouns"]
    lines = [f"# {ordered[0]['experiment']}", "", *distances(ordered, "pronouns"), ""]
    if any("contrastive" in record["contexts"]["all"] for record in ordered):
        lines += ["Reference against the same line with pronouns of another gender, likelier:", ""]
        lines += [*distances(ordered, "contrastive"), ""]
    if any(len(record["contexts"]) > 1 for record in ordered):
        lines += ["Pronouns that need context, with the memory cut to its last sentences:", ""]
        lines += [*cuts(ordered), ""]
    told = ", ".join(
        f"{counts[name]['pronouns']} at {name}" for name in DISTANCES if name in counts
    )
    return "\n".join([*lines, *conditions(ordered, told)]) + "\n"


def distances(records: Sequence[dict], kind: str) -> list[str]:
    """The share of right pronouns by distance with all context; the scores with translations."""
    translated = kind == "pronouns"
    head = ["system", *(["BLEU", "d-BLEU"] if translated else []), "context needed"]
    head += [f"distance {name}" for name in DISTANCES]
    rows = []
    for record in records:
        scores = record["contexts"]["all"]
        if kind not in scores:
            continue
        right, row = scores[kind], [record["system"]]
        if translated:
            row += [f"{scores[name]['score']:.2f}" for name in ("bleu", "document_bleu")]
        row += [percent(right.get(name)) for name in ("context", *DISTANCES)]
        rows.append(row)
    return markdown(head, rows)


def cuts(records: Sequence[dict]) -> list[str]:
    """Pronouns that need context, by the number of sentences that the memory is made of."""
    names = next(list(r["contexts"]) for r in records if len(r["contexts"]) > 1)
    head = ["decoder", *(f"{name}: right, likelier" for name in names)]
    rows = []
    for record in records:
        if len(record["contexts"]) == 1:
            continue
        found = [record["contexts"][name] for name in names]
        cells = [
            ", ".join(percent(one.get(kind, {}).get("context")) for kind in KINDS) for one in found
        ]
        rows.append([record["system"], *cells])
    return markdown(head, rows)


def percent(count: dict | None) -> str:
    """The share that is right; nothing where there is none."""
    return "" if count is None else f"{100 * count['right'] / count['pronouns']:.1f} %"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table of these rows."""
    aligned = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, aligned, *rows)]


def conditions(records: Sequence[dict], told: str) -> list[str]:
    """What the numbers mean and how they were taken."""
    first = records[0]
    sizes, scores = first["sizes"], first["contexts"]["all"]
    ceiling = percent(first["references"]["context"])
    few = f"{sizes['few']} words of each list of its lexicon" if sizes["few"] else "all its words"
    translated = f"the first {sizes['translated']}" if sizes.get("translated") else "those"
    minutes = {
        record["system"]: sum(record["training"]["processor_seconds"]) / 60 for record in records
    }
    facts = [
        f"The sample corpus with {few} and sentences of at most {sizes['longest']} words,"
        f" {sizes['documents']:,} documents; translated are {translated} of its"
        f" validation and test set. Pronouns whose gender an earlier sentence tells, and those"
        f" whose antecedent is in the same sentence (distance 0): {told}. The three genders are"
        " equally frequent. A pronoun is right where the line has the expected form and none of"
        " the others, whatever else is in it; where other words have such a form, that counts the"
        f" references themselves wrong, of whose pronouns that need context {ceiling} are right.",
        f"`sentence` is a Transformer-XL that sees single sentences, `concatenated-K`"
        " fairseq's Transformer on K sentences as one; the others carry their memory from"
        f" sentence to sentence{unrolled(sizes)}."
        f" {sizes['layers']} layers of dimension {sizes['dim']},"
        f" {sizes['first']} updates on single sentences and {sizes['second']} after that, of at"
        f" most {sizes['max_tokens']:,} tokens; `concatenated-K` from the start. One seed.",
        "Likelier: by log-probability, after the references of the sentences before; lines, by"
        " their furthest antecedent. Not done for concatenated sentences.",
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


def unrolled(sizes: dict) -> str:
    """How far gradients go back, and at which rate was learnt, where the record tells."""
    if sizes.get("unroll", 1) == 1:
        return ""
    return f", gradients going back through {sizes['unroll']} of them; learning rate {sizes['lr']}"


def commit(record: dict) -> str:
    """The short commit, with a note where tracked files were changed."""
    return record["commit"][:12] + (" with changes" if record["dirty"] else "")
