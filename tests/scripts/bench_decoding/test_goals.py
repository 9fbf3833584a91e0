"""The engine's goals and the comparison by length: what is measured, and the pages of it."""

from pathlib import Path
from typing import Any

import pytest

from scripts.bench_decoding import apart, goals, lengths
from scripts.shared.benchmark import read_records
from tests import checkout

RESULTS = checkout.RESULTS / "decoding"


@pytest.fixture
def tiny(monkeypatch: Any, tmp_path: Path) -> list[str]:
    """Models that take no time, one round each; the flags for them."""
    size = apart.Size("tiny", 1, 16, 40, 4)
    monkeypatch.setitem(apart.SIZES, "small", size)
    monkeypatch.setitem(goals.LINES, "small", (2, 8, 32))
    monkeypatch.setattr(lengths, "DEPTHS", (1, 2))
    return ["--models", str(tmp_path / "models"), "--out", str(tmp_path), "--rounds", "1"]


def test_a_row_is_measured_beside_the_rival_and_not_twice(
    tiny: list[str], tmp_path: Path, monkeypatch: Any
) -> None:
    pytest.importorskip("ctranslate2")
    row = goals.Row("small", (1,), "+int8+shortlist", (1e9, 0.0, 0.0), {"CT2_VERBOSE": "0"})
    monkeypatch.setattr(goals, "ROWS", {"small": row})
    assert goals.main([*tiny, "--rows", "small"]) == 0
    (record,) = read_records(tmp_path / "goals.jsonl")
    modes = [system["mode"] for system in record["systems"].values()]
    assert modes == ["fast+int8+shortlist"] * 2 + ["ct2+int8+shortlist"]
    assert record["environment"] == {"CT2_VERBOSE": "0"}
    monkeypatch.setattr(goals, "timed", None)  # to be measured again would fail
    assert goals.main([*tiny, "--rows", "small"]) == 0
    page = (tmp_path / "goals.md").read_text(encoding="utf-8")
    first = next(line for line in page.splitlines() if line.startswith("| small | 1-1 | feedback"))
    assert first.count("*") == 1 and " * | 1e+09 |" in first  # below its goal at batch 1 alone


@pytest.mark.slow
def test_lengths_are_forced_and_the_pasts_memory_is_told(tiny: list[str], tmp_path: Path) -> None:
    assert lengths.main([*tiny, "--tokens", "3,40"]) == 0
    for record in read_records(tmp_path / "lengths.jsonl"):
        for system in record["systems"]:
            for speed in system["speed"]:
                assert speed["tokens"] == speed["lines"] * (record["tokens"] + 1)
        two, other = (lengths.system(record, decoder, 2) for decoder in goals.OURS)
        assert other["past_bytes"] == 2 * two["past_bytes"] > 0
    assert (tmp_path / "lengths.png").is_file()


@pytest.mark.parametrize("module", [goals, lengths])
def test_the_published_page_is_made_of_its_records(module: Any) -> None:
    path = RESULTS / f"{module.NAME}.jsonl"
    if not path.exists():
        pytest.skip("not measured yet")
    records = read_records(path)
    assert not any(record["dirty"] for record in records)
    assert module.page(records) == path.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", [goals, lengths])
def test_damaged_records_are_told_in_one_line(module: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / f"{module.NAME}.jsonl").write_text('{"row": "small"}\n', encoding="utf-8")
    assert module.main(["--out", str(tmp_path), "--table-only"]) == 1
    assert "are damaged (KeyError: " in capsys.readouterr().err
    assert not (tmp_path / f"{module.NAME}.md").exists()
