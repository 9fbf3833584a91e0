import json
import shutil
from pathlib import Path

import pytest

from scripts.bench_data import records
from scripts.bench_data.run import main
from scripts.bench_data.table import EUROPARL_WORDS, WMT14_PAIRS, write_table
from tests.checkout import RESULTS
from tests.data_prep.texts import write_splits

PUBLISHED = RESULTS / "data_prep"


def test_stages_are_measured_and_recorded(tmp_path: Path) -> None:
    splits = write_splits(tmp_path / "text")
    flags = ["--pairs", "200", "--repeats", "2", "--vocab-size", "120"]
    flags += ["--results", str(tmp_path), "--name", "tiny", "--train", str(splits["train"])]
    assert main(["stages", *flags]) == 0
    (record,) = records.read(tmp_path / "stages.jsonl")
    assert record["name"] == "tiny" and record["pairs"] == 300
    assert set(record["stages"]) > {"read", "clean", "tokenise (sacremoses)", "encode", "binarise"}
    for stage in record["stages"].values():
        rates = stage["pairs_per_second"]
        assert 0 < rates["min"] <= rates["median"] <= rates["max"]
        assert len(stage["seconds"]) == 2
    assert "The slowest stage is" in write_table(tmp_path).read_text()


@pytest.mark.slow
def test_a_whole_preparation_is_measured_on_copies(tmp_path: Path) -> None:
    splits = write_splits(tmp_path / "text")
    flags = ["--results", str(tmp_path), "--name", "tiny", "--copies", "1", "2"]
    flags += ["--train", str(splits["train"]), "--", "--vocab-size", "120", "--workers", "1"]
    flags += ["--valid", str(splits["valid"]), "--test", str(splits["test"])]
    assert main(["memory", *flags]) == 0
    once, twice = records.read(tmp_path / "memory.jsonl")
    assert (once["pairs_read"], twice["pairs_read"]) == (300, 600)
    assert twice["pairs"]["train"] == once["pairs"]["train"]
    assert once["peak_mib"] > 20 and once["largest_mib"] > 20
    assert once["seconds"] > sum(once["stage_seconds"].values()) > 0
    shutil.copy(tmp_path / "memory.jsonl", tmp_path / "whole.jsonl")
    assert (
        f"WMT14: by the number of its pairs, {WMT14_PAIRS:,}" in write_table(tmp_path).read_text()
    )


def test_extrapolation_by_hand(tmp_path: Path) -> None:
    record = {
        "name": "x", "cpu": "c", "cores": 2, "load_before": 0.0, "workers": 2, "symbols": 8,
        "pairs_read": WMT14_PAIRS // 10, "pairs": {"train": 1}, "dropped": {}, "peak_mib": 1,
        "source_words_per_line": EUROPARL_WORDS / 2, "spm_sample_pairs": 250_000,
        "options": {"spm_sample": 1_000_000}, "seconds": 100.0, "processor_seconds": 50.0,
        "stage_seconds": {"clean": 12.0, "spm": 30.0, "test": 6.0, "binarise": 40.0},
        "stage_processor_seconds": {"clean": 6.0, "spm": 15.0, "test": 3.0, "binarise": 20.0},
    }  # fmt: skip
    (tmp_path / "whole.jsonl").write_text(json.dumps(record) + "\n")
    table = write_table(tmp_path).read_text()
    rows = [line.split(" | ") for line in table.split("\n") if "|" in line]
    cells = {row[0].strip("| *"): [cell.strip("| *") for cell in row[1:]] for row in rows}
    assert cells["clean"] == ["12.0 s", "6.0 s", "1.0 min", "2.0 min"]
    assert cells["spm"] == ["30.0 s", "15.0 s", "1.0 min", "2.0 min"]
    assert cells["test"] == ["6.0 s", "3.0 s", "0.1 min", "0.1 min"]
    assert cells["binarise"] == ["40.0 s", "20.0 s", "3.3 min", "6.7 min"]
    assert cells["start, checksums, counting"] == ["12.0 s", "6.0 s", "1.0 min", "2.0 min"]
    assert cells["all"] == ["100.0 s", "50.0 s", "6.4 min", "12.7 min"]
    assert "with the load told above, it would be 25 min" in table


def test_the_latest_record_of_a_name_counts(tmp_path: Path) -> None:
    lines = [{"name": "a", "n": 1}, {"name": "b", "n": 2}, {"name": "a", "n": 3}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [record["n"] for record in records.read(tmp_path / "r.jsonl")] == [3, 2]


def test_commands_are_recorded_without_the_machines_paths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEMTX_CORPORA", "/some/where/")
    told = records.command(["whole", "--train", "/some/where/train/x", "two words"])
    assert told == "python -m scripts.bench_data whole --train $MEMTX_CORPORA/train/x 'two words'"


def test_the_published_table_is_made_from_the_records(tmp_path: Path) -> None:
    if not (PUBLISHED / "tables.md").is_file():
        pytest.skip("nothing published yet")
    for path in PUBLISHED.glob("*.jsonl"):
        shutil.copy(path, tmp_path)
    assert write_table(tmp_path).read_bytes() == (PUBLISHED / "tables.md").read_bytes()
