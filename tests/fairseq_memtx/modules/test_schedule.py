"""The arithmetic of length schedules: end points, growth, the paper's equations, rounding."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_memtx.modules.schedule import (
    KINDS,
    UNLIMITED,
    LengthDistribution,
    LengthSchedule,
)

DATA = LengthDistribution([3, 5, 5, 8, 13, 13, 13, 21, 40, 60])


@st.composite
def schedules(draw) -> LengthSchedule:
    """Any schedule over `DATA`."""
    start = draw(st.integers(1, 60))
    return LengthSchedule(
        kind=draw(st.sampled_from(KINDS)),
        start=start,
        end=draw(st.integers(start, 70)),
        updates=draw(st.integers(1, 300)),
        step=draw(st.integers(1, 12)),
        stages=draw(st.integers(2, 7)),
        data=DATA,
    )


@given(schedules())
def test_grows_from_start_to_end_in_steps_and_is_then_lifted(schedule: LengthSchedule) -> None:
    limits = [schedule.at(update) for update in range(schedule.updates)]
    assert limits[0] == schedule.start or schedule.kind == "competence"
    assert limits == sorted(limits)
    assert all(schedule.start <= limit <= schedule.end for limit in limits)
    assert all((limit - schedule.start) % schedule.step == 0 for limit in limits)
    assert schedule.at(schedule.updates) == schedule.at(10 * schedule.updates) == UNLIMITED


@given(schedules(), st.integers(0, 299))
def test_until_is_the_next_change(schedule: LengthSchedule, update: int) -> None:
    update %= schedule.updates
    until = schedule.until(update)
    assert update < until <= schedule.updates
    assert all(schedule.at(u) == schedule.at(update) for u in range(update, until))
    assert schedule.at(until) != schedule.at(update)


def test_linear_by_hand() -> None:
    schedule = LengthSchedule("linear", start=10, end=50, updates=4)
    assert [schedule.at(u) for u in range(5)] == [10, 20, 30, 40, UNLIMITED]


def test_root_by_hand() -> None:
    schedule = LengthSchedule("root", start=10, end=50, updates=4)
    exact = [math.sqrt(100 + 2400 * x) for x in (0, 0.25, 0.5, 0.75)]
    assert [schedule.at(u) for u in range(4)] == [math.floor(length) for length in exact]


def test_stages_by_hand() -> None:
    schedule = LengthSchedule("stages", start=10, end=40, updates=8, stages=4)
    assert [schedule.at(u) for u in range(8)] == [10, 10, 20, 20, 30, 30, 40, 40]


def test_steps_round_down_from_the_start() -> None:
    schedule = LengthSchedule("linear", start=5, end=25, updates=20, step=8)
    assert [schedule.at(u) for u in (0, 7, 8, 15, 16, 19)] == [5, 5, 13, 13, 21, 21]


def test_competence_is_that_of_the_paper() -> None:
    """c(t) = min(1, sqrt(t (1 - c0^2) / T + c0^2)), and a pair takes part if its CDF is <= c."""
    lengths = np.random.RandomState(1).gamma(3.0, 6.0, size=500).astype(int) + 2
    data = LengthDistribution(lengths)
    start = data.shortest_limit(0.01)
    schedule = LengthSchedule("competence", start, data.longest, updates=1000, data=data)
    cdf = {length: np.mean(lengths <= length) for length in set(lengths.tolist())}
    c0 = cdf[start]
    for update in range(1, 1000, 7):
        competence = min(1.0, math.sqrt(update * (1 - c0**2) / 1000 + c0**2))
        taking_part = sum(cdf[length] <= competence for length in lengths.tolist())
        assert data.share(schedule.at(update)) == taking_part / 500


def test_one_length_only() -> None:
    data = LengthDistribution([7, 7, 7])
    for kind in KINDS:
        schedule = LengthSchedule(kind, 7, 7, updates=10, data=data)
        assert {schedule.at(u) for u in range(10)} == {7}


def test_shares_by_hand() -> None:
    assert DATA.share(2) == 0.0
    assert DATA.share(5) == DATA.share(7) == 0.3
    assert DATA.share(60) == DATA.share(UNLIMITED) == 1.0
    assert DATA.shortest_limit(0.3) == 5
    assert DATA.shortest_limit(0.31) == 8
    assert DATA.longest_limit(0.3) == 7
    assert DATA.longest_limit(1.0) == 60
    assert DATA.token_share(5) == (3 + 9 * 5) / 181
    assert DATA.token_share(60) == DATA.token_share(UNLIMITED) == 1.0


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"kind": "sudden"}, "is sudden: it has to be one of linear, root, stages, competence"),
        ({"start": 0}, "at least 1"),
        ({"start": 9, "end": 8}, "lengths are 9 and 8: .* no shorter than the first"),
        ({"updates": 0}, "`updates` and `step` have to be at least 1"),
        ({"step": 0}, "`updates` and `step` have to be at least 1"),
        ({"stages": 1}, "`stages` at least 2"),
        ({"kind": "competence"}, "competence needs the lengths of the data"),
    ],
)
def test_the_impossible_is_refused(wrong: dict, says: str) -> None:
    settings = {"kind": "linear", "start": 5, "end": 10, "updates": 3, **wrong}
    with pytest.raises(ValueError, match=says):
        LengthSchedule(**settings)


def test_a_distribution_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="there are no lengths"):
        LengthDistribution([])
