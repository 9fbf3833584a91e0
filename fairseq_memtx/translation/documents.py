"""Documents translated in lanes, for a `Translator`.

Size legend: B sentences of a batch, S source positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ..generation.documents import DocumentSearch, batches_in_lanes
from ..modules.lane_memory import LaneRow
from ..modules.lanes import BatchLimits
from .document_text import DocumentText
from .results import Translation

if TYPE_CHECKING:
    from ..translator import Translator


def translated_documents(
    translator: Translator,
    search: DocumentSearch,
    whole: DocumentText,
    lanes: int,
    progress: Callable[[int], object],
) -> list[list[list[Translation]]]:
    """Of each document and each of its lines the translations, best first.

    Args:
        translator: what reads hypotheses, and how large a batch may be.
        search: with its models.
        whole: the documents.
        lanes: documents that are open at once; 0 for as many as keep padding low.
        progress: called with the number of lines finished since the last time.

    Raises:
        FloatingPointError: where the model gives no numbers.
    """
    limits = BatchLimits(translator.search.batch_size, translator.search.max_tokens)
    progress(whole.num_blank)
    for rows in batches_in_lanes(whole.documents, whole.lengths, limits, lanes):
        found = _of_batch(translator, search, whole, rows)
        progress(sum(whole.add(number, some) for number, some in found))
    return whole.translations()


def _of_batch(
    translator: Translator, search: DocumentSearch, whole: DocumentText, rows: list[LaneRow]
) -> list[tuple[int, list[Translation]]]:
    """The number of each sentence of a batch, and its translations."""
    sample = translator.sample([whole.sources[row.sentence].ids for row in rows])
    ordered = [rows[number] for number in sample["id"].tolist()]
    gold = [whole.gold[row.sentence] for row in ordered]
    with torch.inference_mode():
        found = search.translate(sample["net_input"], ordered, gold)
    sources = sample["net_input"]["src_tokens"]  # (B, S)
    return [
        (row.sentence, translator.read(hypotheses, source, whole.sources[row.sentence].pieces))
        for row, hypotheses, source in zip(ordered, found, sources, strict=True)
    ]
