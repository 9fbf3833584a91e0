"""fairseq's hypotheses, read: numbers as subwords, tensors as plain numbers.

Size legend: S source positions of a batch, padding included; T target subwords and the end symbol.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .results import Pairs, Translation, between_words


def translation(
    hypothesis: dict[str, Any],
    decode: Callable[[Tensor], str],
    dictionary: Any,
    source_subwords: Sequence[str],
    is_source: Tensor | None,
) -> Translation:
    """A hypothesis as a `Translation`.

    Args:
        hypothesis: fairseq's, which ends with the end symbol.
        decode: makes text of its tokens `(T,)`.
        dictionary: of the target.
        source_subwords: of its sentence.
        is_source: `(S,)`, False where the batch has padding; None where no alignment is wanted.
    """
    subwords = tuple(dictionary[token] for token in hypothesis["tokens"].tolist()[:-1])
    alignment = attention = None
    if is_source is not None:
        alignment = _pairs(hypothesis["alignment"])
        attention = _rows(hypothesis["attention"], is_source)
    return Translation(
        text=decode(hypothesis["tokens"]),
        score=float(hypothesis["score"]),
        subwords=subwords,
        subword_scores=tuple(hypothesis["positional_scores"].float().tolist()),
        source_subwords=tuple(source_subwords),
        alignment=alignment,
        word_alignment=alignment and between_words(alignment, source_subwords, subwords),
        attention=attention,
    )


def _pairs(alignment: Sequence[tuple[Any, Any]]) -> Pairs:
    return tuple((int(source), int(target)) for source, target in alignment)


def _rows(attention: Tensor | None, is_source: Tensor) -> tuple[tuple[float, ...], ...] | None:
    """fairseq's attention `(S, T)` as a row for each target subword, without padding."""
    if attention is None or attention.numel() == 0:
        return None
    real = attention.float().cpu()[is_source.cpu()]
    return tuple(map(tuple, real.t().tolist()))
