"""The Markdown table of an experiment, from its records and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

HEADER = (
    "decoder",
    "layers",
    "BLEU",
    "chrF",
    "words/s, batch {first}",
    "words/s, batch {last}",
    "length",
    "state B/token",
    "parameters",
    "memory",
    "updates",
    "training",
)


def words_per_second(speed: dict) -> tuple[float, float, float]:
    """Median, slowest and fastest repeat, in detokenised words a second."""
    rates = [speed["words"] / seconds for seconds in speed["seconds"]]
    return median(rates), min(rates), max(rates)


def table(records: Sequence[dict]) -> str:
    """The whole page: the rows, and below them what they rest on."""
    lines = [f"# {records[0]['experiment']}", "", *rows(records), "", *conditions(records)]
    return "\n".join(lines) + "\n"


def rows(records: Sequence[dict]) -> list[str]:
    """Markdown rows, one for each record; the seed is told where there are several."""
    several = len({record["seed"] for record in records}) > 1
    batches = [speed["batch"] for speed in records[0]["speed"]]
    header = [name.format(first=batches[0], last=batches[-1]) for name in HEADER]
    header = [*header[:2], "seed", *header[2:]] if several else header
    aligned = ["---", *["---:"] * (len(header) - 1)]
    cells = [row(record, several) for record in records]
    return ["| " + " | ".join(line) + " |" for line in (header, aligned, *cells)]


def row(record: dict, with_seed: bool = False) -> list[str]:
    """The cells of one record."""
    scores, training = record["scores"], record["training"]
    memory = record["search"]["peak_memory_bytes"]
    seed = [str(record["seed"])] if with_seed else []
    return [
        record["decoder"],
        str(record["depth"]),
        *seed,
        f"{scores['bleu']['score']:.2f}",
        f"{scores['chrf']['score']:.2f}",
        rate(record["speed"][0]),
        rate(record["speed"][-1]),
        f"{scores['length_ratio']:.3f}",
        f"{record['state']['bytes_per_token']:,.0f}",
        f"{record['model']['parameters'] / 1e6:.2f} M",
        "" if memory is None else f"{memory / 2**20:,.0f} MiB",
        f"{training['updates']:,}",
        f"{training['seconds'] / 60:.0f} min",
    ]


def rate(speed: dict) -> str:
    """Median (slowest - fastest) words a second, marked where the repeats' outputs differed."""
    middle, low, high = words_per_second(speed)
    mark = "" if speed["identical_output"] else " *"
    return f"{middle:,.0f} ({low:,.0f}-{high:,.0f}){mark}"


def conditions(records: Sequence[dict]) -> list[str]:
    """What the numbers mean and under what conditions they were taken."""
    first = records[0]
    search, data, scores = first["search"], first["data"], first["scores"]
    facts = [
        f"Data: {data['name']}, {data['pairs']['train']:,} training pairs, {data['vocab_size']:,}"
        f" shared subwords; test set {data['test']}, {data['pairs']['test']:,} lines. Copying the"
        f" source scores BLEU {scores['copy_bleu']:.2f}.",
        f"BLEU `{scores['bleu']['signature']}`, chrF `{scores['chrf']['signature']}`, on"
        " detokenised text against the untouched references.",
        f"Speed: detokenised output words a second, median (slowest-fastest) of {repeats(records)}"
        f" repeats, interleaved between all rows in one process, after a warm-up; {speeds(first)}."
        " Timed: the beam search with the encoder. Not timed: loading, tokenising, batching,"
        " detokenising. Rows whose ranges overlap are not ranked."
        f" {identical(records)}",
        f"Search: fairseq's, beam {search['beam']}, length penalty {search['lenpen']}. Precision"
        f" {joined(records, lambda r: r['precision'])}, threads"
        f" {joined(records, lambda r: r['threads'])}, on"
        f" {joined(records, lambda r: r['hardware']['cpu'])}"
        f" ({joined(records, lambda r: r['hardware']['cores'])} cores), device"
        f" {joined(records, lambda r: r['hardware']['device'])}.",
        "length: output words over reference words. state B/token: bytes that decoding keeps for"
        " each target token of one hypothesis. memory: peak of fairseq-generate's process"
        f" with batches of {search['batch_size']}. training: time of the updates and validations,"
        f" {joined(records, lambda r: r['training']['threads'])} thread(s) each.",
        "Versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(first["versions"].items()))
        + f". Commit {joined(records, commit)}.",
    ]
    return [f"- {fact}" for fact in facts]


def repeats(records: Sequence[dict]) -> str:
    """How often each measurement was repeated."""
    return joined(records, lambda r: min(len(speed["seconds"]) for speed in r["speed"]))


def speeds(record: dict) -> str:
    """How many lines were translated at each batch size."""
    told = [f"batch {speed['batch']}: {speed['lines']:,} lines" for speed in record["speed"]]
    return ", ".join(told)


def identical(records: Sequence[dict]) -> str:
    """Whether all repeats of a row gave the same output."""
    if all(speed["identical_output"] for record in records for speed in record["speed"]):
        return "All repeats of a row gave the same output."
    return "* The output differed between repeats."


def commit(record: dict) -> str:
    """The short commit, with a note where tracked files were changed."""
    return record["commit"][:12] + (" with changes" if record["dirty"] else "")


def joined(records: Sequence[dict], value) -> str:
    """The distinct values over all records, in order."""
    return ", ".join(dict.fromkeys(str(value(record)) for record in records))
