"""A server under load: measured at a tiny size, and a page from the records alone."""

import os
from pathlib import Path

import pytest

from scripts.bench_decoding import serving
from scripts.shared.benchmark import read_records


@pytest.mark.slow
def test_a_tiny_measurement_and_its_page(tiny_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    text = tmp_path / "text.en"
    text.write_text("a bird sings .\nthe old man .\n")
    words = ["--model", str(tiny_checkpoints["feedback"]), "--text", str(text)]
    words += ["--clients", "1,3", "--requests", "12", "--out", str(tmp_path)]
    assert serving.main(words) == 0
    records = read_records(tmp_path / "serving.jsonl")
    assert [record["clients"] for record in records] == [1, 3]
    for record in records:
        assert (record["answered"], record["lines"]) == (12, 2)
        assert 0 < record["milliseconds"]["50"] <= record["milliseconds"]["99"]
        assert all(size > 1e7 for size in record["resident_bytes"])
    page = tmp_path / "serving.md"
    made = page.read_text()
    assert "| clients | requests | lost or wrong | requests/s |" in made
    page.unlink()
    assert serving.main(["--table-only", "--out", str(tmp_path)]) == 0
    assert page.read_text() == made


def test_a_wrong_or_missing_answer_is_counted() -> None:
    load = serving.Load(0, ["a"], ["A"])
    load.seconds, load.wrong = [0.1] * 7, 2
    load.run = lambda clients, requests: 1.0  # type: ignore[method-assign]
    record = serving.measured(load, 1, 10, os.getpid())
    assert (record["answered"], record["wrong"]) == (7, 2)
    about = {
        "lines": 1,
        "threads": 1,
        "clock": "wall",
        "versions": {},
        "commit": "0",
        "dirty": False,
    }
    hardware = {"hardware": {"cpu": "a processor", "cores": 2}}
    assert "| 1 | 10 | 5 | 7 |" in serving.page([{**record, **about, **hardware}])


def test_what_to_measure_has_to_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serving.main(["--out", str(tmp_path)]) == 1
    assert "name a `--model` and a `--text`" in capsys.readouterr().err
