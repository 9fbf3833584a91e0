"""Workers beside threads: measured at a tiny size, and a page from the records alone."""

from pathlib import Path

import pytest

from scripts.bench_decoding import workers
from scripts.shared.benchmark import read_records


@pytest.mark.slow
def test_a_tiny_measurement_and_its_page(
    tiny_checkpoints: dict[str, Path], prepared_sample: Path, tmp_path: Path
) -> None:
    text = prepared_sample / "refs" / "test.en"
    words = ["--model", f"tiny={tiny_checkpoints['feedback']}", "--text", str(text)]
    words += ["--rounds", "1", "--lines", "4", "--batch-size", "2", "--out", str(tmp_path)]
    assert workers.main(words) == 0
    records = read_records(tmp_path / "workers.jsonl")
    assert [record["generator"] for record in records] == ["fast", "fairseq"]
    for record in records:
        assert set(record["seconds"]) == set(workers.WAYS)
        assert all(len(taken) == 1 and taken[0] > 0 for taken in record["seconds"].values())
    page = tmp_path / "workers.md"
    made = page.read_text()
    assert "| model | generator | one thread | 2 threads | 2 workers |" in made
    page.unlink()
    assert workers.main(["--table-only", "--out", str(tmp_path)]) == 0
    assert page.read_text() == made


def test_what_to_measure_has_to_be_named(tmp_path: Path, capsys) -> None:
    assert workers.main(["--out", str(tmp_path)]) == 1
    assert "name a `--model` and a `--text`" in capsys.readouterr().err
    assert workers.main(["--table-only", "--out", str(tmp_path)]) == 1
    assert "there are no records" in capsys.readouterr().err
