"""Shortlists over the tiny dictionary."""

import torch

from fairseq_memtx.decoding.shortlist import Shortlist
from tests.fairseq_memtx.searches import DICTIONARY

SIZE = len(DICTIONARY)
ALWAYS = torch.tensor([DICTIONARY.bos(), DICTIONARY.pad(), DICTIONARY.eos(), DICTIONARY.unk(), 12])


def shortlist_of(translations: dict[int, list[int]]) -> Shortlist:
    table = torch.full((SIZE, 3), -1, dtype=torch.int32)
    for word, others in translations.items():
        table[word, : len(others)] = torch.tensor(others, dtype=torch.int32)
    return Shortlist(table, ALWAYS, SIZE)


SOME = shortlist_of({word: [4 + word % 3, 7 + word % 2] for word in range(4, SIZE)})
ALL = Shortlist(SOME.translations, torch.arange(SIZE), SIZE)
