"""No n-gram comes twice where that is asked for."""

import torch
from fairseq.ngram_repeat_block import NGramRepeatBlock

from fairseq_memtx import repairs

repairs.apply()


def blocked(size: int, words: list[int], kind: str = "") -> list[int]:
    """The words of 0 .. 9 that may not follow, by fairseq's function for a Python host."""
    tokens = torch.tensor([[2, *words, 1, 1, 1]])  # the buffer goes on with padding
    scores = torch.zeros(1, 10)
    blocker = NGramRepeatBlock(size, use_extension=False)
    function = NGramRepeatBlock._no_repeat_ngram
    function = getattr(function, kind) if kind else function
    found = function(blocker, tokens, scores, 1, 1, len(words))
    return found[0].eq(-torch.inf).nonzero().flatten().tolist()


def test_repeated_ngrams_are_blocked() -> None:
    assert blocked(2, [5, 6, 5, 7, 5]) == [6, 7]
    assert blocked(3, [5, 6, 7, 5, 6]) == [7]
    assert blocked(3, [5, 6, 7, 5, 7]) == []
    assert blocked(3, [5]) == []
    assert blocked(1, [5, 6, 5]) == [5, 6]


def test_defect_fairseq_blocks_no_ngram() -> None:
    assert blocked(2, [5, 6, 5, 7, 5], "__wrapped__") == []
