"""Texts can be cut into blocks that end with sentences."""

import numpy as np
import pytest
import torch
from fairseq.data import token_block_dataset

from fairseq_memtx import repairs

repairs.apply()


def cut_at_sentences() -> list[list[int]]:
    """`--sample-break-mode eos` on two sentences."""
    sentences = [torch.tensor([5, 6, 2]), torch.tensor([7, 2])]
    blocks = token_block_dataset.TokenBlockDataset(
        sentences, [3, 2], block_size=None, pad=1, eos=2, break_mode="eos"
    )
    return [blocks[i].tolist() for i in range(len(blocks))]


def test_blocks_of_text_may_end_with_sentences() -> None:
    assert cut_at_sentences() == [[5, 6, 2], [7, 2]]


def test_defect_fairseq_asks_numpy_for_a_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails once fairseq, or numpy, needs no repair there."""
    monkeypatch.setattr(token_block_dataset, "np", np)
    with pytest.raises(AttributeError, match="compat"):
        cut_at_sentences()
