"""Rounded sizes, and the memory that recordings share."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairseq_memtx.engine.gpu.arena import ALIGNMENT, Arena, Counter
from fairseq_memtx.engine.gpu.rounded_sizes import LEAST_STEP, fill, round_up


@given(st.integers(0, 5000), st.sampled_from(sorted(LEAST_STEP.values())))
def test_sizes_grow_by_little(size, least):
    rounded = round_up(size, least)
    assert rounded >= size and rounded % least == 0
    assert rounded - size < max(least, size / 8)
    assert round_up(rounded, least) == rounded


def test_few_sizes_serve_all():
    assert len({round_up(n, LEAST_STEP["T"]) for n in range(1, 1025)}) <= 60
    assert len({round_up(n, LEAST_STEP["B"]) for n in range(1, 1025)}) <= 60


def test_what_is_added_is_zero_whatever_was_there():
    fixed = torch.full((4, 3), float("nan"))
    fill(fixed, torch.ones(2, 3))
    assert fixed.tolist() == [[1.0] * 3] * 2 + [[0.0] * 3] * 2
    fill(fixed, 2 * torch.ones(4, 3))
    assert fixed.tolist() == [[2.0] * 3] * 4


def test_added_source_positions_are_hidden_but_not_those_of_added_sentences():
    fixed = torch.zeros(2, 4, dtype=torch.bool)
    fill(fixed, torch.tensor([[False, True]]), "BS")
    assert fixed.tolist() == [[False, True, True, True], [False] * 4]


def test_an_arena_holds_what_was_counted():
    likes = [torch.empty(0, dtype=x) for x in (torch.float64, torch.bool, torch.bfloat16)]
    shapes = [(3, 5), (7,), (0, 4)]
    counter = Counter()
    for shape, like in zip(shapes, likes, strict=True):
        assert counter.make(shape, like).dtype == like.dtype
    arena = Arena(counter.num_bytes, torch.device("cpu"))
    made = [arena.make(shape, like) for shape, like in zip(shapes, likes, strict=True)]
    for number, x in enumerate(made):
        assert tuple(x.shape) == shapes[number] and x.dtype == likes[number].dtype
        x.fill_(number % 2)
    assert not made[0].any() and made[1].all()  # none lies over another
    assert (made[1].data_ptr() - made[0].data_ptr()) % ALIGNMENT == 0
    arena.rewind()
    assert arena.make((3,), likes[1]).data_ptr() == made[0].data_ptr()


def test_more_than_was_counted_is_an_error():
    arena = Arena(ALIGNMENT, torch.device("cpu"))
    arena.make((3,), torch.empty(0))
    with pytest.raises(AssertionError, match="counted"):
        arena.make((1,), torch.empty(0))
