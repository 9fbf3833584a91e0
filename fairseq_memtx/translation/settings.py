"""How a translator searches, and what it tells of what it found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..config import MOST_LENPEN, GeneratorOptions
from ..ground.errors import UserError

#: Of the search's numbers: their type, the least and the most that can be computed with.
_BOUNDS: dict[str, tuple[type, float, float]] = {
    "beam": (int, 1, 100_000),
    "nbest": (int, 1, 100_000),
    "lenpen": (float, -MOST_LENPEN, MOST_LENPEN),
    "max_len_a": (float, 0, 1000),
    "max_len_b": (int, 0, 1_000_000),
    "batch_size": (int, 1, 1_000_000),
    "max_tokens": (int, 1, 1_000_000_000),
    "temperature": (float, 1e-3, 1e3),
    "sampling_topk": (int, 0, 1_000_000_000),
    "sampling_topp": (float, 0, 1),
    "diverse_beam_groups": (int, 0, 100_000),
    "diverse_beam_strength": (float, -1e6, 1e6),
    "diversity_rate": (float, 0, 1e6),
    "seed": (int, 0, 2**62),
    "workers": (int, 1, 1024),
}
_SWITCHES = ("alignment", "sampling")
CONSTRAINTS = ("", "ordered", "unordered")
#: The searches that fairseq's generator has beside its beam search, of which one can be chosen.
_OTHER_SEARCHES = ("sampling", "diverse_beam_groups", "diversity_rate", "constraints")


@dataclass(frozen=True)
class SearchSettings:
    """Options of the search, named as fairseq's.

    Attributes:
        beam: hypotheses kept for each sentence; with `sampling`, how many are drawn.
        lenpen: exponent of the length by which a score is divided.
        max_len_a, max_len_b: a translation has at most `a * source subwords + b` subwords, the end
            symbol of the source counted. With the generator `fairseq` the source is the longest of
            its batch.
        batch_size: sentences translated at once, at most.
        max_tokens: source subwords at once, at most, padding included.
        generator: `fast` (ours), `cuda-graphs` (the same, which a GPU runs alone) or `fairseq` (its
            own, with the same result).
        shortlist: file of `memtx shortlist` that limits the words; "" for none. Wants `fast`.
        native: whether `fast` searches by the native engine where it can, `on` or `off`.
        nbest: hypotheses that are told of each line, at most `beam`.
        alignment: whether they tell which source subword each of theirs attends to most.
        temperature: that the model's outputs are divided by before the softmax.
        sampling: whether words are drawn from the model's distribution. This and what follows wants
            the generator `fairseq`, and excludes each other.
        sampling_topk: draw from so many of the likeliest words; 0 for all.
        sampling_topp: draw from the likeliest words that together have this probability (Holtzman
            et al. 2019); 0 for all.
        diverse_beam_groups: groups of a beam that keep apart from each other (Vijayakumar et al.
            2016); 0 for none. Each has `beam / groups` hypotheses.
        diverse_beam_strength: how much they do.
        diversity_rate: what each further hypothesis with the same parent pays (Li et al. 2016).
        constraints: `ordered` or `unordered`, whether the words that a translation must have
            (Post & Vilar 2018, Hu et al. 2019) come in their order; "" where there are none.
        seed: of what is drawn. With the number of a batch's first line, so that a translation that
            goes on after an interruption is what it would have been.
        workers: processes of one thread each, which share the weights, for sentences; 1 for this
            process alone, with the threads that PyTorch has. Documents are translated by this one.

    Raises:
        UserError: for values that are impossible, alone or together.
    """

    beam: int = 5
    lenpen: float = 1.0
    max_len_a: float = 1.2
    max_len_b: int = 10
    batch_size: int = 64
    max_tokens: int = 4000
    generator: str = "fast"
    shortlist: str = ""
    native: str = "on"
    nbest: int = 1
    alignment: bool = False
    temperature: float = 1.0
    sampling: bool = False
    sampling_topk: int = 0
    sampling_topp: float = 0.0
    diverse_beam_groups: int = 0
    diverse_beam_strength: float = 0.5
    diversity_rate: float = 0.0
    constraints: str = ""
    seed: int = 1
    workers: int = 1

    def __post_init__(self) -> None:
        try:
            GeneratorOptions(self.generator, self.shortlist, native=self.native)
        except ValueError as error:
            raise UserError(str(error)) from None
        for name, (kind, least, most) in _BOUNDS.items():
            value = getattr(self, name)
            allowed = (int,) if kind is int else (int, float)
            if isinstance(value, bool) or not isinstance(value, allowed):
                rule = "a whole number" if kind is int else "a number"
                raise UserError(f"`{name}` is {value!r}: it has to be {rule}")
            if not least <= value <= most:  # never of NaN
                raise UserError(f"`{name}` is {value}: it has to be from {least} to {most}")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"`{name}` is {getattr(self, name)!r}: it has to be True or False")
        for reason in self._contradictions():
            raise UserError(reason)

    def _contradictions(self) -> Iterator[str]:
        """What cannot be together, a line each."""
        if self.nbest > self.beam:
            yield f"`nbest` is {self.nbest}: it can be at most `beam`, which is {self.beam}"
        if self.constraints not in CONSTRAINTS:
            yield f"`constraints` is {self.constraints!r}: it has to be ordered or unordered"
        others = [name for name in _OTHER_SEARCHES if getattr(self, name)]
        if len(others) > 1:
            yield f"`{others[0]}` and `{others[1]}` exclude each other: leave one out"
        if others and self.generator != "fairseq":
            yield (
                f"`generator` is {self.generator}, which does not know `{others[0]}`: it has to be"
                " fairseq"
            )
        if self.constraints and self.alignment:
            yield "`constraints` and `alignment` exclude each other: leave one out"
        groups = self.diverse_beam_groups
        if groups and self.beam % groups:
            yield f"`beam` is {self.beam}: it has to be a multiple of the {groups} groups"
        if self.sampling_topk and self.sampling_topp:
            yield "`sampling_topk` and `sampling_topp` exclude each other: leave one out"
        for name in ("sampling_topk", "sampling_topp"):
            if getattr(self, name) and not self.sampling:
                yield f"`{name}` does nothing without `sampling`: give both or neither"
        if self.diverse_beam_strength != 0.5 and not groups:
            yield (
                "`diverse_beam_strength` does nothing without `diverse_beam_groups`: give both"
                " or neither"
            )

    def fairseqs(self) -> dict[str, Any]:
        """The same as fairseq's options of a generation, which says otherwise what is left out."""
        return {
            "beam": self.beam,
            "nbest": self.nbest,
            "lenpen": self.lenpen,
            "max_len_a": self.max_len_a,
            "max_len_b": self.max_len_b,
            "print_alignment": "hard" if self.alignment else None,
            "temperature": self.temperature,
            "sampling": self.sampling,
            "sampling_topk": self.sampling_topk or -1,
            "sampling_topp": self.sampling_topp or -1.0,
            "diverse_beam_groups": self.diverse_beam_groups or -1,
            "diverse_beam_strength": self.diverse_beam_strength,
            "diversity_rate": self.diversity_rate or -1.0,
            "constraints": self.constraints or None,
        }
