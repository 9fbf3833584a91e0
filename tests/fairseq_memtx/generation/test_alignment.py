"""Our extraction of alignments from attention is fairseq's."""

import torch
from fairseq import utils

from fairseq_memtx.generation.alignment import hard_alignment

PAD, EOS = 1, 2


def test_it_is_fairseq_s() -> None:
    sources = [[5, 6, 7, EOS], [PAD, PAD, 9, EOS], [4, EOS, PAD, PAD], [EOS, PAD, PAD, PAD]]
    targets = [[5, EOS], [8, 9, 4, EOS], [EOS], [PAD, 5, PAD, EOS]]
    found = []
    for source in map(torch.tensor, sources):
        for target in map(torch.tensor, targets):
            attention = torch.rand(len(target), len(source)).softmax(dim=1)
            want = utils.extract_hard_alignment(attention.clone(), source, target, PAD, EOS)
            got = hard_alignment(attention, source, target, PAD, EOS)
            assert got == [(int(s), int(t)) for s, t in want]
            found += got
    assert len(set(found)) > 4
