"""The table of the records, made from them and from nothing else."""

from pathlib import Path
from typing import Any

from data_prep.manifest import WMT14_EN_DE
from fairseq_memtx.ground.files import write_bytes
from scripts.bench_data.records import Record, read

WMT14_PAIRS = sum(WMT14_EN_DE.train.values())
# English words a line of Europarl, the longest of WMT14's three corpora: see the stage records.
EUROPARL_WORDS = 25.7
# Stages whose time grows with the training text; the others do not, or are bounded by a sample.
GROWING = ("clean", "duplicates", "encode", "binarise")
STAGES = (
    "sgm-valid",
    "sgm-test",
    "clean",
    "duplicates",
    "spm",
    "encode",
    "valid",
    "test",
    "binarise",
)
OUTSIDE = "start, checksums, counting"


def write_table(results: Path) -> Path:
    """Write ``tables.md`` in ``results`` from the records beside it."""
    parts = [
        "# Speed and memory of the data preparation",
        "Made by `python -m data_prep bench table` from the records (`*.jsonl`) in this folder.",
        *map(_stages, read(results / "stages.jsonl")),
        *map(_whole, read(results / "whole.jsonl")),
        _memory(read(results / "memory.jsonl")),
    ]
    path = results / "tables.md"
    write_bytes(path, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return path


def _rows(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _where(record: Record) -> str:
    return f"{record['cpu']}, {record['cores']} cores, load before {record['load_before']:.1f}"


def _stages(record: Record) -> str:
    rates = {name: stage["pairs_per_second"] for name, stage in record["stages"].items()}
    rows = [
        [name, f"{rate['median']:,}", f"{rate['min']:,}", f"{rate['max']:,}"]
        for name, rate in rates.items()
    ]
    slowest = min(rates, key=lambda name: rates[name]["median"])
    words = record["source_words"] / record["pairs"]
    told = [
        f"## Each stage alone: {record['name']}",
        f"{record['pairs']:,} pairs of {words:.1f} source words, {record['repeats']} interleaved "
        f"repeats, {record['vocab_size']:,} pieces, one process ({_where(record)}). Training of "
        "subwords runs two threads.",
        _rows(["stage", "pairs per processor second (median)", "min", "max"], rows),
        f"The slowest stage is *{slowest}*. {_moses(rates)}",
    ]
    return "\n\n".join(told)


def _moses(rates: dict[str, dict[str, int]]) -> str:
    moses = "tokenise (sacremoses)"
    factor = rates["encode"]["median"] / rates[moses]["median"]
    return (
        f"Tokenising by sacremoses takes {factor:.1f} times as long as encoding; the route without "
        "it is the default (`--tokenizer none`, no `--normalize`): sentencepiece needs no words."
    )


def _whole(record: Record) -> str:
    pairs, dropped = record["pairs"], record["dropped"]
    rows, clock = _whole_rows(record)
    header = ["stage", "by the clock", "processor time", "WMT14, by pairs", "WMT14, by words"]
    told = [
        f"## A whole preparation: {record['name']}",
        f"{record['pairs_read']:,} training pairs read, of {record['source_words_per_line']} "
        f"source words; {pairs['train']:,} kept; {record['symbols']:,} symbols; "
        f"{record['workers']} worker processes ({_where(record)}). Dropped: "
        + ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
        + f". Memory of all processes together: {record['peak_mib']:,} MiB at most.",
        _rows(header, rows),
        "The last two columns extrapolate the processor time to WMT14: by the number of its pairs, "
        f"{WMT14_PAIRS:,}, and by words too, as if every line were as long as Europarl's "
        f"({EUROPARL_WORDS} English words). Subwords are trained on a sample of bounded size, "
        "which is taken into account; validation and test set do not grow. Processor time counts "
        "all processes: on two free cores the clock shows between half and all of it. By this "
        f"run's clock, with the load told above, it would be {clock / 60:.0f} min. Downloading and "
        "unpacking come on top.",
    ]
    return "\n\n".join(told)


def _whole_rows(record: Record) -> tuple[list[list[str]], float]:
    """A row for each stage, one for what is outside of them, the sums; and WMT14 by the clock."""
    clock = {
        name: record["stage_seconds"][name] for name in STAGES if name in record["stage_seconds"]
    }
    processor = dict(record["stage_processor_seconds"])
    clock[OUTSIDE] = record["seconds"] - sum(clock.values())
    processor[OUTSIDE] = record["processor_seconds"] - sum(processor.values())
    factors = _factors(record)
    rows, sums = [], [0.0] * 4
    for name in clock:
        pairs, words = factors[name]
        values = [clock[name], processor[name], processor[name] * pairs, processor[name] * words]
        sums = [total + value for total, value in zip(sums, values, strict=True)]
        rows.append([name, *_times(values)])
    rows.append(["**all**", *(f"**{time}**" for time in _times(sums))])
    return rows, sum(seconds * factors[name][1] for name, seconds in clock.items())


def _times(values: list[float]) -> list[str]:
    """The measured times in seconds, the extrapolated ones in minutes."""
    return [f"{v:.1f} s" for v in values[:2]] + [f"{v / 60:.1f} min" for v in values[2:]]


def _longer(record: Record) -> float:
    return EUROPARL_WORDS / record["source_words_per_line"]


def _factors(record: Record) -> dict[str, tuple[float, float]]:
    """By what each stage's time is multiplied: by pairs, and by pairs and words."""
    grow = WMT14_PAIRS / record["pairs_read"]
    sample = min(record["options"]["spm_sample"], WMT14_PAIRS) / record["spm_sample_pairs"]
    factors = dict.fromkeys(record["stage_seconds"], (1.0, 1.0))
    factors |= dict.fromkeys((*GROWING, OUTSIDE), (grow, grow * _longer(record)))
    factors["spm"] = (sample, sample * _longer(record))
    return factors


def _memory(records: list[Record]) -> str:
    if not records:
        return ""
    rows = [
        [
            f"{record['name']}, {record['copies']} times",
            f"{record['pairs_read']:,}",
            f"{record['pairs']['train']:,}",
            f"{record['peak_mib']:,} MiB",
            f"{record['largest_mib']:,} MiB",
        ]
        for record in records
    ]
    header = ["text", "pairs read", "kept", "peak, all processes", "peak, largest process"]
    told = [
        "## Memory",
        "All processes: proportional set size, polled; largest process: resident set size.",
        _rows(header, rows),
    ]
    return "\n\n".join(told)
