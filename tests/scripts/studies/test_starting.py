"""How starting is timed: the table of a record, and a run at a tiny size."""

import json
from pathlib import Path

import pytest

from scripts.studies import starting
from tests.checkpoints import write_scattered

TIMES = {"import": [2.0, 4.0, 3.0], "load": [0.5], "first": [0.25], "total": [5.0]}
RECORD = {
    "model": "feedback-d1-s1",
    "starts": {
        "checkpoint": TIMES,
        "folder": {**TIMES, "import": [1.0]},
    },
    "bytes": {"checkpoint": 2**20, "folder": 2**21},
    "threads": 1,
    "clock": "wall",
    "versions": {"torch": "2.0"},
    "hardware": {"cpu": "a processor", "cores": 2},
    "commit": "0123456789abcdef",
    "dirty": False,
}


def test_the_table_is_made_from_the_records_alone() -> None:
    told = starting.page([RECORD])
    assert "| feedback-d1-s1 | checkpoint | 3.00 (2.00-4.00) | 0.50 (0.50-0.50) |" in told
    assert "| 5.00 (5.00-5.00) | 2.0 |" in told


@pytest.mark.slow
def test_a_model_is_timed_both_ways(tiny_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model = write_scattered(tiny_checkpoints["feedback"], tmp_path / "model.pt")
    out = tmp_path / "out"
    assert starting.main([str(model), "--rounds", "1", "--out", str(out), "--name", "tiny"]) == 0
    (record,) = map(json.loads, (out / "records.jsonl").read_text().splitlines())
    assert record["starts"].keys() == {"checkpoint", "folder"}
    assert all(one["total"][0] > one["import"][0] > 0 for one in record["starts"].values())
    assert "| tiny | folder |" in (out / "table.md").read_text()
