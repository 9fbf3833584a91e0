"""The order of batches under a growing limit: kept exactly, random otherwise, nothing lost."""

import collections
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_memtx.modules.arrangement import arrange, count_beyond


@st.composite
def epochs(draw) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of batches, and limits that never shrink."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=40))
    limits = draw(st.lists(st.integers(1, 35), min_size=len(lengths), max_size=len(lengths)))
    return np.array(lengths), np.sort(limits)


@given(epochs(), st.integers(0, 2**31))
def test_every_batch_comes_once_and_as_early_as_the_limit_lets_it(
    epoch: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    lengths, limits = epoch
    order = arrange(lengths, limits, np.random.RandomState(seed))
    assert sorted(order) == list(range(len(lengths)))
    # where no batch fits, the shortest left stands in: its length is the p-th in ascending order
    assert (lengths[order] <= np.maximum(limits, np.sort(lengths))).all()


@given(epochs(), st.integers(0, 2**31))
def test_repeating_keeps_to_the_limit(epoch: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    lengths, limits = epoch
    order = arrange(lengths, limits, np.random.RandomState(seed), repeat=True)
    assert len(order) == len(lengths)
    assert (lengths[order] <= np.maximum(limits, lengths.min())).all()


def test_the_limit_is_kept_where_it_can_be() -> None:
    lengths = np.array([5, 4, 3, 2, 1, 1, 1, 1])
    limits = np.array([1, 1, 2, 3, 3, 4, 5, 5])
    assert count_beyond(lengths, limits) == 0
    for seed in range(50):
        order = arrange(lengths, limits, np.random.RandomState(seed))
        assert (lengths[order] <= limits).all()


def test_positions_that_cannot_be_kept_are_counted() -> None:
    assert count_beyond(np.array([9, 2, 2, 3]), np.array([1, 2, 2, 4])) == 3


def test_all_arrangements_within_the_limits_are_equally_likely() -> None:
    lengths, limits = np.array([3, 1, 2, 1]), np.array([1, 2, 3, 3])
    possible = [
        order
        for order in itertools.permutations(range(4))
        if all(lengths[b] <= limit for b, limit in zip(order, limits, strict=True))
    ]
    draws, random = 4000, np.random.RandomState(5)
    seen = collections.Counter(tuple(arrange(lengths, limits, random)) for _ in range(draws))
    assert set(seen) == set(possible)
    expected = draws / len(possible)
    # chi square: its mean is the degrees of freedom, its deviation the root of twice that
    chi2 = sum((count - expected) ** 2 / expected for count in seen.values())
    degrees = len(possible) - 1
    assert chi2 < degrees + 4 * (2 * degrees) ** 0.5


def test_repeating_passes_over_all_that_fit_before_it_begins_again() -> None:
    lengths, limits = np.arange(1, 13), np.full(12, 4)
    order = arrange(lengths, limits, np.random.RandomState(2), repeat=True)
    passes = [order[start : start + 4] for start in (0, 4, 8)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def test_repeating_takes_in_what_becomes_allowed() -> None:
    lengths, limits = np.arange(1, 9), np.array([2, 2, 2, 4, 4, 4, 8, 8])
    order = arrange(lengths, limits, np.random.RandomState(2), repeat=True)
    assert sorted(order[:2]) == [0, 1]
    assert len(set(order[2:6])) == 4  # one pass over 4 batches, begun when 2 were allowed
    assert {2, 3} <= set(order[3:6])


@pytest.mark.parametrize("repeat", [False, True])
def test_the_seed_decides(repeat: bool) -> None:
    lengths, limits = np.arange(30), np.full(30, 40)
    first, again, other = (
        arrange(lengths, limits, np.random.RandomState(seed), repeat) for seed in (1, 1, 2)
    )
    assert first == again != other
