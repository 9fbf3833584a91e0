"""The command that runs the tests of faults and counts what survives."""

from pathlib import Path

import pytest

from scripts.shared import benchmark, publishing
from scripts.studies import reliability

TESTS = """
import pytest

def test_one():
    pass

def test_many(record_property):
    for name, count in {"tried": 9, "survived": 9, "stock tried": 4, "stock survived": 1}.items():
        record_property(name, count)

def test_that_fails():
    assert False

def test_that_counts_and_fails(record_property):
    record_property("tried", 5)
    record_property("survived", 3)
    assert False

def test_that_survives_and_fails(record_property):
    record_property("tried", 2)
    record_property("survived", 2)
    assert False

@pytest.mark.slow
def test_that_is_slow():
    pass

@pytest.mark.skip
def test_that_is_skipped():
    pass
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One group of a single made-up file; the folder of its records."""
    (tmp_path / "test_made_up.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow:\n    gpu:\n")
    group = {"made up": ("faults", (str(tmp_path / "test_made_up.py"),))}
    monkeypatch.setattr(reliability, "groups", lambda: group)
    monkeypatch.setattr(reliability, "CHECKOUT", tmp_path)
    return tmp_path / "out"


def test_tries_are_counted_and_failures_named(small: Path) -> None:
    assert reliability.main(["--out", str(small)]) == 0
    (record,) = benchmark.read_records(small / "records.jsonl")
    told = {name: record[name] for name in (*reliability.COUNTS, "tests", "skipped")}
    assert told == {
        "tried": 1 + 9 + 1 + 5 + 3 + 1, "survived": 1 + 9 + 0 + 3 + 2 + 1,
        "stock tried": 4, "stock survived": 1, "tests": 6, "skipped": 1,
    }  # fmt: skip
    assert [name.rpartition("::")[2] for name in record["failed"]] == [
        "test_that_fails", "test_that_counts_and_fails", "test_that_survives_and_fails",
    ]  # fmt: skip
    assert record["processor_seconds"] > 0 and record["commit"]
    page = (small / "table.md").read_text()
    assert "| made up: faults | 6 | 20 | 16 | 1 of 4 |" in page
    assert page.count("- failed: `") == 3
    (missing,) = [line for line in page.split("\n") if line.startswith("Not measured yet: ")]
    assert "`interrupted`" in missing and "`saving`" in missing


@pytest.mark.slow
def test_a_group_runs_again_in_place_of_the_old(small: Path) -> None:
    for _ in range(2):
        assert reliability.main(["--out", str(small), "--only", "made up"]) == 0
    assert len(benchmark.read_records(small / "records.jsonl")) == 1
    before = (small / "table.md").read_bytes()
    assert reliability.main(["--out", str(small), "--table-only"]) == 0
    assert (small / "table.md").read_bytes() == before


@pytest.mark.slow
def test_what_cannot_be_is_told(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reliability.main(["--out", str(small), "--only", "nothing"]) == 1
    assert "`--only` has `nothing`: choose among made up" in capsys.readouterr().err
    (small.parent / "test_made_up.py").unlink()
    assert reliability.main(["--out", str(small)]) == 1
    assert "pytest ended with 4 in the group `made up`" in capsys.readouterr().err


def test_every_file_of_the_folder_is_in_a_group() -> None:
    chosen = [files for _, files in reliability.groups().values()]
    # A file whose tests are chosen among may be in several groups, each time with another choice.
    whole = [file for files in chosen if "-k" not in files for file in files]
    parts = [files for files in chosen if "-k" in files]
    assert len(set(whole)) == len(whole) and len(set(parts)) == len(parts)
    listed = [*whole, *(file for files in parts for file in files[: files.index("-k")])]
    folder = reliability.CHECKOUT / reliability.FOLDER
    assert {folder / path.name for path in folder.glob("test_*.py")} <= {
        reliability.CHECKOUT / file for file in listed
    }
    assert [file for file in listed if not (reliability.CHECKOUT / file).is_file()] == []


def test_the_published_table_is_that_of_its_records() -> None:
    place = publishing.RESULTS / "reliability"
    found = benchmark.read_records(place / "records.jsonl")
    assert reliability.table(found) == (place / "table.md").read_text(encoding="utf-8")
    assert {one["name"] for one in found} <= set(reliability.groups())
