"""The runs of one table row: all seeds of a decoder at one depth and width, by one recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from scripts.shared.tables import words_per_second

#: The middle, the least and the most of some values.
Spread = tuple[float, float, float]

#: Below this a difference is called significant.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Group:
    """Records that differ in nothing but the seed."""

    records: Sequence[dict]

    @property
    def first(self) -> dict:
        """One of them, for what all share."""
        return self.records[0]

    @property
    def decoder(self) -> str:
        """The decoder's name."""
        return self.first["decoder"]

    @property
    def depth(self) -> int:
        """Decoder layers."""
        return self.first["depth"]

    @property
    def width(self) -> int:
        """The embedding dimension."""
        return self.first["width"]

    @property
    def recipe(self) -> str:
        """How they were trained."""
        return self.first["recipe"]

    def spread(self, value: Callable[[dict], float]) -> Spread:
        """A value's median over the seeds, its least and its most."""
        values = [value(record) for record in self.records]
        return median(values), min(values), max(values)

    def decodings(self, beam: int) -> list[dict]:
        """What each record says of a beam."""
        return [one for record in self.records for one in record["decoding"] if one["beam"] == beam]

    def bleu(self, beam: int) -> Spread:
        """BLEU with a beam."""
        scores = [one["scores"]["bleu"]["score"] for one in self.decodings(beam)]
        return median(scores), min(scores), max(scores)

    def speed(self, beam: int, batch: int) -> Spread:
        """Words a second: median over seeds of the repeats' medians; the slowest and the fastest
        repeat of all.
        """
        rates = [
            words_per_second(speed)
            for one in self.decodings(beam)
            for speed in one["speed"]
            if speed["batch"] == batch
        ]
        return (
            median(middle for middle, _, _ in rates),
            min(low for _, low, _ in rates),
            max(high for _, _, high in rates),
        )

    def differences(self, beam: int) -> list[dict]:
        """The differences to the Transformer, of the seeds that have one."""
        found = [one["difference"] for one in self.decodings(beam)]
        return [one for one in found if one is not None]

    @property
    def stopped(self) -> list[bool]:
        """Whether each training went on until its loss no longer fell."""
        return [has_stopped(record["training"]) for record in self.records]


def has_stopped(training: dict) -> bool:
    """Whether the validation loss had not fallen for as long as the training's patience."""
    return 0 < training["patience"] <= training["validations_since_best"]


def groups_of(records: Sequence[dict]) -> list[Group]:
    """The groups, in the order of the records."""
    found: dict[tuple, list[dict]] = {}
    for record in records:
        key = tuple(record[name] for name in ("recipe", "width", "decoder", "depth"))
        found.setdefault(key, []).append(record)
    return [Group(own) for own in found.values()]


def beams_of(records: Sequence[dict]) -> list[int]:
    """All beams, the main one first."""
    return list(dict.fromkeys(one["beam"] for record in records for one in record["decoding"]))


def batches_of(records: Sequence[dict]) -> list[int]:
    """The batch sizes at which speed was measured."""
    return [speed["batch"] for speed in records[0]["decoding"][0]["speed"]]
