"""Alignments of hypotheses with their sources, a sentence having any number of hypotheses."""

from __future__ import annotations

from typing import Any

Hypotheses = list[dict[str, Any]]


def align(generator: Any, sample: dict[str, Any], finalized: list[Hypotheses]) -> None:
    """Put fairseq's extraction into each hypothesis.

    Args:
        generator: `SequenceGeneratorWithAlignment`, which says how to extract.
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
