"""The best continuations, against sorting everything."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_memtx.decoding import candidates
from fairseq_memtx.decoding.candidates import best_continuations


@settings(max_examples=60, deadline=None)
@given(
    sentences=st.integers(1, 3),
    rows=st.integers(1, 4),
    num_words=st.integers(12, 60),
    k=st.integers(1, 11),
    forbidden=st.floats(0, 0.9),
)
def test_the_best_continuations_are_those_of_a_sorted_list(
    sentences, rows, num_words, k, forbidden
):
    """With chunks of 3 words and in one round alike, many words being impossible."""
    log_probs = torch.randn(sentences, rows, num_words)
    log_probs[torch.rand(log_probs.shape) < forbidden] = -torch.inf
    scores = torch.randn(sentences, rows)
    total = (log_probs + scores.unsqueeze(2)).flatten(1)
    want = total.sort(dim=1, descending=True)
    for several_chunks in (0, 1 << 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(candidates, "CHUNK", 3)
            patch.setattr(candidates, "SEVERAL_CHUNKS", several_chunks)
            got = best_continuations(log_probs, scores, k)
        assert torch.equal(got.scores, want.values[:, :k])
        place = got.rows * num_words + got.tokens
        assert torch.equal(total.gather(1, place), got.scores)
        assert all(len(set(row)) == k for row in place.tolist())
