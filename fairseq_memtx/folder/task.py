"""What a translator asks of fairseq's task, for models without fairseq.

Size legend: B sentences, S source positions.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..generation.documents import padded
from .config import Config
from .vocabulary import Vocabulary

Sample = dict[str, Any]


class FolderTask:
    """Words, languages and batches, by fairseq's names.

    Args:
        config: of the folder.
        source, target: its words.
    """

    def __init__(self, config: Config, source: Vocabulary, target: Vocabulary):
        self.source_dictionary, self.target_dictionary = source, target
        source_lang, target_lang = config.languages
        self.cfg = SimpleNamespace(
            source_lang=source_lang,
            target_lang=target_lang,
            left_pad_source=config.left_pad_source,
        )

    def build_dataset_for_inference(
        self, src_tokens: Sequence[Tensor], src_lengths: Sequence[int]
    ) -> "Sources":
        """Sources `(S,)`, the end symbol last, that can be put into a batch."""
        pad, left = self.source_dictionary.pad(), self.cfg.left_pad_source
        return Sources(src_tokens, pad, left)

    def inference_step(
        self,
        generator: Any,
        models: Sequence[Any],
        sample: Sample,
        prefix_tokens: Tensor | None = None,
        constraints: None = None,
    ) -> list[list[Sample]]:
        """The hypotheses of a batch, see `PlainGenerator.generate`."""
        return generator.generate(models, sample, prefix_tokens=prefix_tokens)


class Sources:
    """Sources of a batch.

    Args:
        tokens: `(S,)` each.
        pad: symbol.
        left: whether padding comes first.
    """

    def __init__(self, tokens: Sequence[Tensor], pad: int, left: bool):
        self._tokens, self._pad, self._left = tokens, pad, left

    def __getitem__(self, number: int) -> tuple[int, Tensor]:
        return number, self._tokens[number]

    def collater(self, samples: Sequence[tuple[int, Tensor]]) -> Sample:
        """A batch: `src_tokens` `(B, S)`, the longest source first."""
        ordered = sorted(samples, key=lambda one: -len(one[1]))
        rows = [tokens for _, tokens in ordered]
        return {
            "id": torch.tensor([number for number, _ in ordered]),
            "net_input": {
                "src_tokens": padded(rows, self._pad, self._left),
                "src_lengths": torch.tensor([len(row) for row in rows]),
            },
        }
