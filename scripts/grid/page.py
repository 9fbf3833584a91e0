"""The page of an experiment: tables of quality and speed, of training, of the search, and notes.

A row is a decoder at one depth and width by one recipe; its numbers are medians over the seeds.
Each table is followed by a sentence on what it shows, from the numbers themselves, and by what it
does not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scripts.experiment import course
from scripts.experiment.recipes import RECIPES
from scripts.grid import findings
from scripts.grid.groups import Group, Spread, batches_of, beams_of, groups_of
from scripts.shared.tables import joined

QUALITY = ("decoder", "layers", "width", "recipe", "seeds", "BLEU", "to Transformer")
METRICS = {"chrf": "chrF", "chrf++": "chrF++", "comet": "COMET"}
SIZES = ("length", "state B/token", "parameters", "memory")
TRAINING = (
    *("decoder", "layers", "width", "recipe", "seeds", "learning rate", "warm-up", "updates"),
    *("epochs", "validation loss", "stopped by itself", "processor hours", "target tokens/s"),
    "memory",
)
SEARCH = ("decoder", "layers", "width", "learning rate", "warm-up", "validation loss", "chosen")


def page(records: Sequence[dict], the_course: dict | None = None) -> str:
    """The whole page."""
    groups = groups_of(records)
    parts = [f"# {records[0]['experiment']}"]
    for beam in beams_of(records):
        parts += [f"## Translation, beam {beam}", quality(groups, beam)]
        parts += [findings.of_translation(groups, beam)]
    parts += ["## Training", training(groups), findings.of_training(groups)]
    if the_course is not None:
        parts += ["## The curriculum's course", course.sentences(the_course)]
    if any(record["learning"]["search"] for record in records):
        parts += ["## Search for the learning rate", search(groups), findings.of_search(groups)]
    parts += ["## Conditions", "\n".join(f"- {fact}" for fact in conditions(records))]
    return "\n\n".join(parts) + "\n"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first are set to the right."""
    aligned = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, aligned, *rows))


def named(group: Group) -> list[str]:
    """The cells that say which group it is."""
    seeds = str(len(group.records))
    return [group.decoder, str(group.depth), str(group.width), group.recipe, seeds]


def ranged(spread: Spread, form: str) -> str:
    """The median, and from the least to the most where these differ."""
    middle, low, high = (format(value, form) for value in spread)
    return middle if low == high else f"{middle} ({low}-{high})"


def quality(groups: Sequence[Group], beam: int) -> str:
    """BLEU, chrF and speed with one beam."""
    batches = batches_of(groups[0].records)
    speeds = [f"words/s, batch {batch}" for batch in batches]
    metrics = metrics_of(groups, beam)
    header = (*QUALITY, *metrics.values(), *speeds, *SIZES)
    return markdown(header, [quality_row(group, beam, batches, metrics) for group in groups])


def metrics_of(groups: Sequence[Group], beam: int) -> dict[str, str]:
    """The metrics beside BLEU that all records have, and their names; old ones lack
    chrF++, and COMET is there only where it was asked for.
    """
    scores = [one["scores"] for group in groups for one in group.decodings(beam)]
    return {key: name for key, name in METRICS.items() if all(key in one for one in scores)}


def quality_row(
    group: Group, beam: int, batches: Sequence[int], metrics: Iterable[str]
) -> list[str]:
    """The cells of one group."""
    decodings = group.decodings(beam)
    odd = any(not speed["identical_output"] for one in decodings for speed in one["speed"])
    memory = [one["peak_memory_bytes"] for one in decodings if one["peak_memory_bytes"]]
    scores = {key: Group([one["scores"][key] for one in decodings]) for key in metrics}
    length = Group(decodings).spread(lambda one: one["scores"]["length_ratio"])
    return [
        *named(group),
        ranged(group.bleu(beam), ".2f"),
        difference(group, beam),
        *(ranged(metric.spread(score_of), ".2f") for metric in scores.values()),
        *(ranged(group.speed(beam, batch), ",.0f") + (" *" if odd else "") for batch in batches),
        ranged(length, ".3f"),
        f"{group.first['state']['bytes_per_token']:,.0f}",
        f"{group.first['model']['parameters'] / 1e6:.2f} M",
        f"{max(memory) / 2**20:,.0f} MiB" if memory else "",
    ]


def score_of(found: dict) -> float:
    """The score of a metric."""
    return found["score"]


def difference(group: Group, beam: int) -> str:
    """The difference to the Transformer and its p-value, of each seed."""
    told = [f"{one['difference']:+.2f} (p {one['p_value']:.3f})" for one in group.differences(beam)]
    return "; ".join(told)


def training(groups: Sequence[Group]) -> str:
    """How the models were trained, and whether for long enough."""
    return markdown(TRAINING, [training_row(group) for group in groups])


def training_row(group: Group) -> list[str]:
    """The cells of one group."""
    runs = [record["training"] for record in group.records]
    learning = group.first["learning"]
    seconds = [run["processor_seconds"] for run in runs if run["processor_seconds"]]
    rates = [r["target_tokens"] / r["processor_seconds"] for r in runs if r["processor_seconds"]]
    memory = [run["peak_memory_bytes"] for run in runs if run["peak_memory_bytes"]]
    trained = Group(runs)
    return [
        *named(group),
        f"{learning['lr']:g}",
        f"{learning['warmup_updates']:,}",
        ranged(trained.spread(lambda run: run["updates"]), ",.0f"),
        ranged(trained.spread(lambda run: run["epochs"]), ".1f"),
        ranged(trained.spread(lambda run: run["valid_nll_loss"]), ".3f"),
        ", ".join("yes" if stopped else "no" for stopped in group.stopped),
        f"{sum(seconds) / len(seconds) / 3600:.1f}" if seconds else "",
        f"{sum(rates) / len(rates):,.0f}" if rates else "",
        f"{max(memory) / 2**20:,.0f} MiB" if memory else "",
    ]


def search(groups: Sequence[Group]) -> str:
    """What was tried for each shape of model."""
    rows = []
    for group in one_of_each_shape(groups):
        learning = group.first["learning"]
        for one in learning["search"]["tried"]:
            chosen = all(one[name] == learning[name] for name in ("lr", "warmup_updates"))
            loss = one["valid_nll_loss"]
            rows.append(
                [
                    *(group.decoder, str(group.depth), str(group.width)),
                    *(f"{one['lr']:g}", f"{one['warmup_updates']:,}"),
                    "diverged" if loss is None else f"{loss:.3f}",
                    "x" if chosen else "",
                ]
            )
    return markdown(SEARCH, rows)


def one_of_each_shape(groups: Sequence[Group]) -> list[Group]:
    """Those with a search, but one only of what several recipes share."""
    shapes: dict[tuple, Group] = {}
    for group in groups:
        if group.first["learning"]["search"]:
            shapes.setdefault((group.decoder, group.depth, group.width), group)
    return list(shapes.values())


def conditions(records: Sequence[dict]) -> list[str]:
    """What the numbers mean and under what conditions they were taken."""
    first = records[0]
    data, main = first["data"], first["decoding"][0]
    scores = main["scores"]
    lines = ", ".join(f"batch {one['batch']}: {one['lines']:,} lines" for one in main["speed"])
    recipes = dict.fromkeys(record["recipe"] for record in records)
    metrics = metrics_of([Group(records)], main["beam"])
    signatures = ", ".join(f"{name} `{scores[key]['signature']}`" for key, name in metrics.items())
    return [
        f"Data: {data['name']}, {data['pairs']['train']:,} training pairs, {data['vocab_size']:,}"
        f" shared subwords; test set {data['test']}, {data['pairs']['test']:,} lines. Copying the"
        f" source scores BLEU {scores['copy_bleu']:.2f}.",
        *(f"Recipe `{name}`: {RECIPES[name].meaning}." for name in recipes),
        f"BLEU `{scores['bleu']['signature']}`, {signatures}, on"
        " detokenised text against the untouched references. to Transformer: difference in BLEU to"
        " the Transformer of the same depth, width and recipe, seed by seed, with the p-value of a"
        " paired bootstrap of 1,000 samples.",
        "Of several seeds: median (least-most). Speed: detokenised output words a second; the"
        " median over seeds of the median over repeats, and the slowest and fastest repeat of all;"
        f" {min(len(one['seconds']) for one in main['speed'])} repeats, interleaved between all"
        f" rows in one process, after a warm-up; {lines}. Timed: the beam search with the encoder."
        " Not timed: loading, tokenising, batching, detokenising. Rows whose ranges overlap are not"
        f" ranked. {identical(records)}",
        f"Search: fairseq's, length penalty {main['lenpen']}. Precision"
        f" {joined(records, lambda r: r['precision'])}, threads"
        f" {joined(records, lambda r: r['threads'])}, on"
        f" {joined(records, lambda r: r['hardware']['cpu'])}"
        f" ({joined(records, lambda r: r['hardware']['cores'])} cores), device"
        f" {joined(records, lambda r: r['hardware']['device'])}.",
        "length: output words over reference words. state B/token: bytes that decoding keeps for"
        " each target token of one hypothesis. memory: the most that a process used: that of"
        f" fairseq-generate with batches of {main['batch_size']}, and that of training.",
        "validation loss: bits a subword, after the last update. stopped by itself: the validation"
        f" loss had not fallen for {joined(records, lambda r: r['training']['patience'])}"
        " validations. target tokens/s: of processor time, validations included,"
        f" {joined(records, lambda r: r['training']['threads'])} thread(s).",
        "Versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(first["versions"].items()))
        + f". Commit {joined(records, commits)}.",
    ]


def identical(records: Sequence[dict]) -> str:
    """Whether all repeats of a row gave the same output."""
    speeds = [s for record in records for one in record["decoding"] for s in one["speed"]]
    if all(speed["identical_output"] for speed in speeds):
        return "All repeats of a row gave the same output."
    return "* The output differed between repeats."


def commits(record: dict) -> str:
    """The commits that the run was trained and measured with."""
    starts = [*record["training"]["starts"], record]
    told = [one["commit"][:12] + (" with changes" if one["dirty"] else "") for one in starts]
    return ", ".join(dict.fromkeys(told))
