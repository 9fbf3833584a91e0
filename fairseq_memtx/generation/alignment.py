"""Alignments of hypotheses with their sources, a sentence having any number of hypotheses."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

from torch import Tensor

Hypotheses = list[dict[str, Any]]


def align(generator: Any, sample: dict[str, Any], finalized: list[Hypotheses]) -> None:
    """Put fairseq's extraction into each hypothesis.

    Args:
        generator: fairseq's `SequenceGeneratorWithAlignment`, or one of ours, which says how to
            extract.
        sample: fairseq's batch.
        finalized: the hypotheses of each sentence, with attention `(S, t)`; `alignment` is set.
    """
    sources = sample["net_input"]["src_tokens"].cpu()
    for source, hypotheses in zip(sources, finalized, strict=True):
        for hypothesis in hypotheses:
            hypothesis["alignment"] = generator.extract_alignment(
                hypothesis["attention"].cpu().t(),  # (S, t) -> (t, S)
                source,
                hypothesis["tokens"].cpu(),
                generator.pad,
                generator.eos,
            )


def hard_alignment(
    attention: Tensor, source: Tensor, target: Tensor, pad: int, eos: int
) -> list[tuple[int, int]]:
    """For each target word the source word that it attends to most, as fairseq extracts it.

    Args:
        attention: `(t, S)`.
        source: `(S,)`, with padding anywhere.
        target: `(t,)`.
        pad, eos: symbols, which are no words.

    Returns:
        Pairs of a source word's and a target word's number, from 0.
    """
    words = [(side.ne(pad) & side.ne(eos)) for side in (source, target)]
    if not all(bool(side.any()) for side in words):
        return []
    # the number of each place's word
    numbers = [[count - 1 for count in accumulate(side.tolist())] for side in words]
    places = words[1].nonzero().squeeze(1)
    chosen = attention[places].masked_fill(~words[0], -math.inf).max(dim=1).indices
    pairs = zip(chosen.tolist(), places.tolist(), strict=True)
    return [(numbers[0][source], numbers[1][target]) for source, target in pairs]
