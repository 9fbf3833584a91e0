"""The table of the remedies, from logs and records."""

import json
from pathlib import Path

import pytest

from scripts.studies import remedies
from scripts.studies.cures import table as remedy_table

LINE = "2026-01-01 10:00:00 | INFO | {kind} | {values}\n"


def inner(updates: int, wall: int) -> str:
    values = f'{{"epoch": 1, "update": 0.5, "num_updates": "{updates}", "wall": "{wall}"}}'
    return LINE.format(kind="train_inner", values=values)


def valid(updates: int, loss: float) -> str:
    values = f'{{"epoch": 1, "valid_nll_loss": "{loss}", "valid_num_updates": "{updates}"}}'
    return LINE.format(kind="valid", values=values)


def record(route: str, seed: int, points: list, before: float = 0.0, **more: object) -> dict:
    return {
        **more,
        "experiment": "remedies-sample",
        "route": route,
        "seed": seed,
        "seconds_before": before,
        "points": points,
        "commit": "0123456789abcdef",
        "threads": 1,
        "versions": {"torch": "2.13"},
        "hardware": {"cpu": "a processor"},
        "commands": {"remedies": "python -m scripts.studies.remedies sample"},
    }


RECORDS = [
    record("scratch", 1, [[10, 20.0, 5.0], [20, 40.0, 4.0]]),
    record("scratch", 2, [[10, 22.0, 5.5], [20, 44.0, 4.2]]),
    record("warm", 1, [[10, 21.0, 3.9], [20, 42.0, 3.5]], before=8.0),
    record("warm", 2, [[10, 20.0, 4.3], [20, 40.0, 4.2]], before=9.0),
]


def test_points_come_from_the_log_over_several_starts(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(
        inner(10, 5) + valid(10, 6.0) + inner(20, 11) + valid(20, 5.0)
        + inner(20, 4) + valid(20, 5.1) + inner(30, 9) + valid(30, 4.0)
    )  # fmt: skip
    expected = [(10, 5.0, 6.0), (20, 15.0, 5.1), (30, 20.0, 4.0)]
    assert remedy_table.read_points(log) == expected


def test_the_table_says_when_each_route_is_as_good_as_scratch() -> None:
    text = remedy_table.page(RECORDS)
    # the yardstick is the median of 4.0 and 4.2
    assert "at most 4.100" in text
    assert "| scratch | 2 | 4.100 (4.000 - 4.200) | 19, 1 not reached | 38 | 38 |" in text
    assert "| warm | 2 | 3.850 (3.500 - 4.200) | 10, 1 not reached | 21 | 29 |" in text


@pytest.mark.parametrize(
    "target, number", [(6.0, 0.0), (5.0, 0.0), (4.5, 0.5), (4.0, 1.0), (3.9, 3.5), (3.7, None)]
)
def test_the_loss_falls_in_a_straight_line(target: float, number: float | None) -> None:
    losses = enumerate([5.0, 4.0, 4.2, 4.0, 3.8])
    run = record("scratch", 1, [[10 * n, 20.0 * n, loss] for n, loss in losses])
    assert remedy_table.reached(run, target) == (number and pytest.approx(number))
    if number is not None:
        assert remedy_table.between(remedy_table.WALL.of(run), number) == pytest.approx(20 * number)


def test_a_route_that_never_gets_there_says_so() -> None:
    text = remedy_table.page([*RECORDS[:2], record("prefix", 1, [[10, 1.0, 9.0]])])
    assert "| prefix | 1 | 9.000 | not reached |  |  |" in text


def clocked(route: str, seed: int, pace: list[tuple], before: float = 0.0) -> dict:
    """A record whose processor time is half of that by the clock."""
    lines = [dict(zip(("updates", "length", "tokens", "seconds"), p, strict=True)) for p in pace]
    points = [[10, 20.0, 5.0], [20, 40.0, 4.0]]
    own = {"processor_seconds": [10.0, 20.0], "processor_seconds_before": before}
    return record(route, seed, points, 2 * before, pace=lines, **own)


CLOCKED = [
    clocked("scratch", 1, [(10, None, 1000, 8.0), (20, None, 1000, 12.0)]),
    clocked("both", 1, [(10, 7, 900, 4.0), (20, 12, 500, 5.0), (30, 30, 700, 7.0)], before=3.0),
    clocked("both", 2, [(10, 8, 600, 4.0), (20, 10, 900, 4.0), (30, 30, 840, 7.0)], before=4.0),
]


def test_processor_time_has_columns_of_its_own_where_it_is_known() -> None:
    text = remedy_table.page(CLOCKED)
    assert "| both | 2 | 4.000 | 20 | 20 | 24 (23 - 24) | 40 | 47 (46 - 48) |" in text
    assert "processor seconds" not in remedy_table.page([*CLOCKED, *RECORDS])


def test_speeds_are_told_by_length() -> None:
    text = remedy_table.page(CLOCKED)
    assert "| length | scratch | both |" in text
    assert "| 6 to 10 |  | 206 (188 - 225) |" in text
    assert "| 11 to 15 |  | 100 |" in text
    assert "| all | 100 | 110 (100 - 120) |" in text
    assert "| length |" not in remedy_table.page(RECORDS)


def test_the_report_is_the_same_every_time(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    for number, one in enumerate(RECORDS):
        (tmp_path / "records" / f"{number}.json").write_text(json.dumps(one))
    before = [path.read_bytes() for path in remedies.report(tmp_path)]
    assert [path.read_bytes() for path in remedies.report(tmp_path)] == before
    assert len(before) == 3
