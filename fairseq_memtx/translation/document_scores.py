"""Given translations of the sentences of documents, scored in context.

Size legend: n sentences of all documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..generation.documents import DocumentScorer, batches_in_lanes
from ..modules.lanes import BatchLimits, Documents

if TYPE_CHECKING:
    from ..translator import Translator

Scores = list[list[list[float]]]


def scored_documents(
    translator: Translator,
    scorer: DocumentScorer,
    texts: Sequence[Sequence[str]],
    translations: Sequence[Sequence[Sequence[str]]],
    lanes: int,
) -> Scores:
    """The log-probabilities of the translations of each sentence of each document.

    Args:
        translator: what encodes, and how large a batch may be.
        scorer: of its models.
        texts: the sentences of each document.
        translations: of each sentence at least one, raw text.
        lanes: documents that are open at once; 0 for as many as keep padding low.
    """
    flat = [some for lines in translations for some in lines]
    encoded = [translator.encode(line)[:1] for lines in texts for line in lines]
    full = np.array([n for n, parts in enumerate(encoded) if parts], dtype=np.int64)
    documents = Documents.of_sizes([len(lines) for lines in texts if lines]).only(full)
    lengths = np.array([len(parts[0]) + 1 if parts else 1 for parts in encoded], dtype=np.int64)
    limits = BatchLimits(translator.search.batch_size, translator.search.max_tokens)
    found: list[list[float]] = [[0.0] * len(some) for some in flat]
    eos = translator.task.source_dictionary.eos()
    device = next(translator.models[0].parameters()).device
    for rows in batches_in_lanes(documents, lengths, limits, lanes):
        numbers = [row.sentence for row in rows]
        sources = [torch.tensor([*encoded[n][0], eos], device=device) for n in numbers]
        given = [[translator.encode_target(text).to(device) for text in flat[n]] for n in numbers]
        with torch.inference_mode():
            scores = scorer.score(rows, sources, given)
        for number, score in zip(numbers, scores, strict=True):
            found[number] = score
    coming = iter(found)
    return [[next(coming) for _ in lines] for lines in texts]
