"""The choice of words, against sorting everything."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_memtx.decoding import words
from fairseq_memtx.decoding.words import ban_repeated_ngrams, best_continuations


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
            patch.setattr(words, "CHUNK", 3)
            patch.setattr(words, "SEVERAL_CHUNKS", several_chunks)
            got = best_continuations(log_probs, scores, k)
        assert torch.equal(got.scores, want.values[:, :k])
        place = got.rows * num_words + got.tokens
        assert torch.equal(total.gather(1, place), got.scores)
        assert all(len(set(row)) == k for row in place.tolist())


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_repeated_ngrams_are_those_that_a_search_through_the_prefix_finds(n):
    """Words of two symbols only, so that much is repeated; the start symbol counts for n > 1."""
    prefixes = torch.randint(3, 5, (20, 9))
    prefixes[:, 0] = 2
    scores = torch.zeros(20, 6)
    ban_repeated_ngrams(scores, prefixes, n)
    for row, found in zip(prefixes.tolist(), scores, strict=True):
        seen = [row[i : i + n] for i in range(1 if n == 1 else 0, len(row) - n + 1)]
        last = row[len(row) - n + 1 :] if n > 1 else []
        want = [word for word in range(6) if [*last, word] in seen]
        assert found.eq(-torch.inf).nonzero().flatten().tolist() == want


def test_a_short_prefix_repeats_nothing():
    scores = torch.zeros(1, 6)
    ban_repeated_ngrams(scores, torch.tensor([[2]]), 2)
    ban_repeated_ngrams(scores, torch.tensor([[2]]), 1)
    assert scores.eq(0).all()
