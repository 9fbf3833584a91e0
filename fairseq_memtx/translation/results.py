"""What is known of a translation: one class for searching and for scoring."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ..ground import text

#: Numbers, from 0, of a place in the source and one in the target.
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Translation:
    """A hypothesis for a line, or a given translation that was scored.

    Attributes:
        text: it, as text.
        score: by which hypotheses are ranked: the log-probability over the length (subwords and end
            symbol) to the power of `lenpen`. Of a line that was cut: the mean over its parts,
            weighted by their lengths. Of a given translation: `log_prob` over its length.
        subwords: of the translation, as the dictionary has them, without the end symbol.
        subword_scores: natural logarithm of each one's probability, and last that of the end
            symbol; of a line that was cut, the end symbols within it are left out.
        source_subwords: those that the model read, without the end symbol.
        alignment: for each target subword the source subword that it attends to most, as pairs
            (source, target) in the order of the target; None where that was not asked for.
        word_alignment: the same between words, which begin where a subword begins with a space;
            without repetitions.
        attention: a row of probabilities over the source subwords and their end symbol for each
            score; None where not asked for, or for a line that was cut.
    """

    text: str
    score: float
    subwords: tuple[str, ...] = ()
    subword_scores: tuple[float, ...] = ()
    source_subwords: tuple[str, ...] = ()
    alignment: Pairs | None = None
    word_alignment: Pairs | None = None
    attention: tuple[tuple[float, ...], ...] | None = field(default=None, repr=False)

    @property
    def log_prob(self) -> float:
        """The sum of `subword_scores`."""
        return sum(self.subword_scores)


def word_numbers(subwords: Iterable[str]) -> list[int]:
    """For each subword the number, from 0, of the word that it belongs to.

    A space that stands alone belongs to the word after it.
    """
    numbers, last, is_open = [], -1, False
    for subword in subwords:
        if subword.startswith(text.WORD_START):
            is_open = False
        numbers.append(last if is_open else last + 1)
        if subword.strip(text.WORD_START) and not is_open:
            last, is_open = last + 1, True
    return numbers


def between_words(
    alignment: Iterable[tuple[int, int]], source: Sequence[str], target: Sequence[str]
) -> Pairs:
    """An alignment of subwords as one of words.

    Args:
        alignment: pairs of places in source and target.
        source, target: subwords.
    """
    sources, targets = word_numbers(source), word_numbers(target)
    return tuple(dict.fromkeys((sources[s], targets[t]) for s, t in alignment))


def joined(parts: Sequence[Sequence[Translation]]) -> list[Translation]:
    """The translations of a line that was cut: the best of all parts together, the second best, ...

    A line without parts, a blank one, has one that is empty.

    Args:
        parts: of each part its translations, best first.
    """
    if not parts:
        return [Translation("", 0.0)]
    if len(parts) == 1:
        return list(parts[0])
    return [_joined_rank(rank) for rank in zip(*parts, strict=False)]


def _joined_rank(parts: Sequence[Translation]) -> Translation:
    sizes = [len(part.subword_scores) for part in parts]
    score = sum(part.score * size for part, size in zip(parts, sizes, strict=True)) / sum(sizes)
    inner = [part.subword_scores[:-1] for part in parts[:-1]]
    return Translation(
        text=" ".join(part.text for part in parts),
        score=score,
        subwords=tuple(chain.from_iterable(part.subwords for part in parts)),
        subword_scores=tuple(chain(*inner, parts[-1].subword_scores)),
        source_subwords=tuple(chain.from_iterable(part.source_subwords for part in parts)),
        alignment=_joined_pairs(parts, "alignment", len),
        word_alignment=_joined_pairs(parts, "word_alignment", _words),
    )


def _joined_pairs(
    parts: Sequence[Translation], name: str, size: Callable[[Sequence[str]], int]
) -> Pairs | None:
    """An alignment of all parts; `size` counts what its numbers count."""
    pairs: list[tuple[int, int]] = []
    source, target = 0, 0
    for part in parts:
        own = getattr(part, name)
        if own is None:
            return None
        pairs += [(source + s, target + t) for s, t in own]
        source, target = source + size(part.source_subwords), target + size(part.subwords)
    return tuple(pairs)


def _words(subwords: Sequence[str]) -> int:
    return max(word_numbers(subwords), default=-1) + 1
