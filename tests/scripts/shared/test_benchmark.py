"""What the benchmarks share: records that take each other's place, tables, conditions."""

import json
import shutil

import pytest

from scripts.bench_training import memory as bench_memory
from scripts.bench_training import profiling as profile_training
from scripts.bench_training import run as bench_training
from scripts.shared import benchmark
from scripts.studies import compare_engines, sweep_error
from tests.checkout import RESULTS

#: What writes a page from the records beside it: those that it is made of, and the page.
PAGES = {
    bench_training: ("records.jsonl", "table.md"),
    bench_memory: ("memory.jsonl", "memory.md"),
    profile_training: ("profile.jsonl", "profile.md"),
    sweep_error: ("records.jsonl", "table.md"),
    compare_engines: ("rounding.jsonl", "rounding.md"),
}


def test_a_record_takes_the_place_of_the_older_one(tmp_path):
    path = tmp_path / "records.jsonl"
    for length, value in ((2048, 1), (64, 2), (2048, 3)):
        benchmark.add_record(path, {"length": length, "value": value}, "length")
    assert [json.loads(line) for line in path.read_text().split("\n")[:-1]] == [
        {"length": 2048, "value": 3},
        {"length": 64, "value": 2},
    ]


def test_all_keys_must_agree_for_that(tmp_path):
    path = tmp_path / "records.jsonl"
    for case, threads in (("a", 1), ("a", 2), ("b", 1), ("a", 1)):
        benchmark.add_record(path, {"case": case, "threads": threads}, "case", "threads")
    assert len(benchmark.read_records(path)) == 3


def test_tables_align_numbers_to_the_right():
    assert benchmark.markdown(("name", "n"), [("a", "1")]) == [
        "| name | n |",
        "| --- | ---: |",
        "| a | 1 |",
    ]


def test_provenance_has_what_the_conditions_tell():
    record = benchmark.provenance("bench_training", threads=2)
    told = benchmark.conditions(record)
    assert told.startswith("2 thread(s), wall time, float32, torch 2")
    load = f" (load {record.pop('load')} at the start)"
    assert load in told
    assert benchmark.conditions(record) == told.replace(load, "")  # as in older records
    assert benchmark.clock(1)() >= 0.0


def test_the_peak_of_a_step_is_what_it_holds_at_once():
    kept = []
    peak = benchmark.peak_bytes(lambda: kept.append(bytearray(64 * 2**20)))
    assert peak is None or 60 * 2**20 < peak < 100 * 2**20


@pytest.mark.parametrize("command", PAGES, ids=lambda command: command.__name__)
def test_a_published_page_is_made_from_its_records(command, tmp_path):
    records, page = PAGES[command]
    shutil.copy(RESULTS / command.OUT.name / records, tmp_path)
    command.write_table(tmp_path)
    assert (tmp_path / page).read_bytes() == (RESULTS / command.OUT.name / page).read_bytes()
