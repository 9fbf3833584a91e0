"""The generator of models without fairseq: our search under fairseq's arguments and results."""

from collections.abc import Sequence
from typing import Any

import torch

from ..translation.settings import SearchSettings
from .alignment import align, hard_alignment
from .search import BatchSearch


class PlainGenerator(BatchSearch):
    """Searches with models of `plain`; what is no option of the search has fairseq's default.

    Args:
        models: one, or those of an ensemble.
        words: the target's vocabulary.
        settings: of the search.
        own: see `BatchSearch.prepare_search`.

    Raises:
        UserError: for a beam that the vocabulary, or the shortlist, is too small for.
    """

    min_len, unk_penalty = 1, 0.0
    normalize_scores, match_source_len = True, False
    repeat_ngram_blocker = None
    extract_alignment = staticmethod(hard_alignment)

    def __init__(self, models: Sequence[Any], words: Any, settings: SearchSettings, **own: Any):
        self.pad, self.unk, self.eos = words.pad(), words.unk(), words.eos()
        self.vocab_size = len(words)
        self.beam_size = min(settings.beam, self.vocab_size - 1)
        self.max_len_a, self.max_len_b = settings.max_len_a, settings.max_len_b
        self.max_len = min(model.max_positions()[1] for model in models)
        self.len_penalty, self.temperature = settings.lenpen, settings.temperature
        self.wants_attention = settings.alignment
        for model in models:
            model.set_beam_size(self.beam_size)
        self.prepare_search(models, settings.beam, **own)

    @torch.no_grad()
    def generate(self, models: Any, sample: dict[str, Any], **how: Any) -> list[list[dict]]:
        """fairseq's: for each sentence its hypotheses, best first."""
        finalized = self._generate(sample, **how)
        if self.wants_attention:
            align(self, sample, finalized)
        return finalized
