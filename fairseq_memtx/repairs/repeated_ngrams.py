"""Lets `--no-repeat-ngram-size` forbid what it says, where fairseq's CUDA extension is missing.

Stock compares with the end of its buffer, which is padding, and so forbids nothing. May go once it
compares with the last words.
"""

from collections.abc import Callable
from typing import Any

from .wrapping import wrap


def apply() -> None:
    """Wrap fairseq's function for hosts without the extension."""
    from fairseq.ngram_repeat_block import NGramRepeatBlock

    wrap(NGramRepeatBlock, "_no_repeat_ngram", _block)


def _block(stock: Callable[..., Any], blocker: Any, tokens: Any, lprobs: Any, *sizes: int) -> Any:
    from ..decoding.rules import ban_repeated_ngrams

    step = sizes[2]
    ban_repeated_ngrams(lprobs, tokens[:, : step + 1], blocker.no_repeat_ngram_size)
    return lprobs
