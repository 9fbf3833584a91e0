"""What the benchmarks share: records that take each other's place, tables, conditions."""

import json

from scripts import benchmark


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
    told = benchmark.conditions(benchmark.provenance("bench_training", threads=2))
    assert told.startswith("2 thread(s), wall time, float32, torch 2")
    assert benchmark.clock(1)() >= 0.0


def test_the_peak_of_a_step_is_what_it_holds_at_once():
    kept = []
    peak = benchmark.peak_bytes(lambda: kept.append(bytearray(64 * 2**20)))
    assert peak is None or 60 * 2**20 < peak < 100 * 2**20
