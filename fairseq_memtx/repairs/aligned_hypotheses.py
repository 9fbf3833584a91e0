"""Lets `--print-alignment` align sentences that have fewer hypotheses than the beam.

Stock counts on as many as the beam has: an IndexError, where a forced prefix or a blocked n-gram
leaves less. May go once it goes through the hypotheses that there are.
"""

from collections.abc import Callable
from typing import Any

from .wrapping import wrap


def apply() -> None:
    """Wrap what adds alignments to the hypotheses."""
    from fairseq.sequence_generator import SequenceGeneratorWithAlignment

    wrap(SequenceGeneratorWithAlignment, "generate", _generate)


def _generate(
    stock: Callable[..., Any], generator: Any, models: Any, sample: Any, **how: Any
) -> Any:
    import torch

    if any(getattr(model, "full_context_alignment", False) for model in generator.model.models):
        return stock(generator, models, sample, **how)
    from ..generation.alignment import align

    with torch.no_grad():
        finalized = generator._generate(sample, **how)
        align(generator, sample, finalized)
    return finalized
