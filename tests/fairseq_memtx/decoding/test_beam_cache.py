"""Slots that never move, against lists of each beam's own past."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_memtx.decoding.beam_cache import BeamCache, move_sentences

HEADS, DIM = 2, 4


def seen(cache: BeamCache, sentence: int, row: int) -> list[float]:
    """The entries that a row sees, by their first number, in order of time."""
    entries = cache.read(0)[sentence, 0, :, 0]
    bias = cache.bias
    visible = entries if bias is None else entries[bias[sentence, row] == 0]
    return sorted(visible.tolist())


@settings(max_examples=40, deadline=None)
@given(data=st.data(), beam_size=st.integers(1, 3), capacity=st.integers(1, 12))
def test_each_beam_sees_its_own_past(data, beam_size, capacity):
    """Whatever the beams do, with sentences leaving and slots running out."""
    sentences = 3
    cache = BeamCache(2, torch.zeros(sentences, DIM), HEADS, beam_size, capacity)
    pasts: list[list[list[float]]] = [[[]] for _ in range(sentences)]
    number = 0.0
    for step in range(12):
        rows = len(pasts[0])
        cache.open(rows)
        entries = torch.empty(len(pasts) * rows, 2, DIM)
        for i, past in enumerate(past for beams in pasts for past in beams):
            number += 1
            entries[i] = number
            past.append(number)
        cache.write(0, entries)
        for s, beams in enumerate(pasts):
            for r, past in enumerate(beams):
                assert seen(cache, s, r) == past
        parents = [
            data.draw(st.lists(st.integers(0, rows - 1), min_size=beam_size, max_size=beam_size))
            for _ in pasts
        ]
        kept = None
        if step % 5 == 4 and len(pasts) > 1:
            gone = data.draw(st.integers(0, len(pasts) - 1))
            kept = list(range(len(pasts) - 1))
            if gone < len(kept):
                kept[gone] = len(pasts) - 1
        order = range(len(pasts)) if kept is None else kept
        pasts = [[list(pasts[s][p]) for p in parents[s]] for s in order]
        cache.move(
            torch.tensor([parents[s] for s in order]), None if kept is None else torch.tensor(kept)
        )


def test_slots_that_no_beam_sees_are_used_again():
    """All beams go on from the first one: two live entries a step at most, however many steps."""
    cache = BeamCache(2, torch.zeros(1, DIM), HEADS, 4, capacity=16)
    cache.open(1)
    for _ in range(100):
        cache.move(torch.zeros(1, 4, dtype=torch.long), None)
        cache.open(4)
    assert cache.length <= 2 * (101 + 4 * 2)


def test_a_search_of_one_beam_has_no_bias():
    cache = BeamCache(2, torch.zeros(3, DIM), HEADS, 1)
    cache.open(1)
    cache.write(0, torch.ones(3, 2, DIM))
    assert cache.bias is None
    assert cache.size_bytes() == 2 * 3 * DIM * 4


@pytest.mark.parametrize("kept", [[0, 1, 2], [4, 1, 2], [0, 4, 3], [0]])
def test_moved_sentences_stand_where_they_are_sent(kept):
    x = torch.arange(10.0).view(2, 5)
    want = x[:, kept]
    move_sentences(x, 1, torch.tensor(kept))
    assert torch.equal(x[:, : len(kept)], want)
