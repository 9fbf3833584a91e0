"""What is asked of a beam search."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class SearchOptions:
    """What is searched for; names and meanings are those of fairseq's generator.

    Attributes:
        beam_size: rows of a sentence, at most V - 2: padding and the end continue no row.
        max_len: words of a hypothesis at most, its end not counted.
        min_len: and at least, where no prefix is forced.
        pad, unk, eos: the dictionary's symbols.
        bos: the symbol that a hypothesis begins with.
        unk_penalty: subtracted from the log-probability of the unknown word.
        no_repeat_ngram_size: order of n-grams that must not come twice; 0 for none.
    """

    beam_size: int
    max_len: int
    min_len: int
    pad: int
    unk: int
    eos: int
    bos: int
    unk_penalty: float = 0.0
    no_repeat_ngram_size: int = 0

    def by_place(self, words: Tensor) -> "SearchOptions":
        """The same, with the symbols counted by their places in `words` `(n,)`, sorted."""
        symbols = torch.tensor([self.pad, self.unk, self.eos, self.bos], device=words.device)
        pad, unk, eos, bos = places(words, symbols).tolist()
        return replace(self, pad=pad, unk=unk, eos=eos, bos=bos)


def places(words: Tensor, tokens: Tensor) -> Tensor:
    """Where each of the tokens stands in `words` `(n,)`, sorted, which has them all."""
    return torch.searchsorted(words, tokens)


class Limits(NamedTuple):
    """What is asked of single sentences.

    Attributes:
        prefix: `(B, P)` words that the hypotheses begin with, padded at the end; or None.
        exact_length: `(B,)` words of each sentence's hypotheses (`--match-source-len`), or None.
        longest: `(B,)` words of them at most, where that is not the same for all; or None.
    """

    prefix: Tensor | None = None
    exact_length: Tensor | None = None
    longest: Tensor | None = None


NO_LIMITS = Limits()
