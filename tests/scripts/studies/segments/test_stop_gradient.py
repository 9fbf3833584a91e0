"""Where the memory's gradient stops: what is measured at a tiny size, and the table."""

import gzip
from pathlib import Path

import pytest

from fairseq_memtx.modules.segment_attention import SegmentAttention
from scripts.shared.benchmark import read_records
from scripts.studies.segments import stop_gradient

CONDITIONS = {
    "threads": 1, "clock": "processor", "versions": {"torch": "2.0"},
    "hardware": {"cpu": "a processor", "cores": 2}, "commit": "0123456789abcdef", "dirty": False,
}  # fmt: skip


def test_the_table_is_made_from_the_records_alone() -> None:
    runs = {
        "after the norm": [{"bits": 3.0, "seconds": 10}, {"bits": 2.0, "seconds": 12}],
        "before the norm": [{"bits": 3.1, "seconds": 20}, {"bits": 1.9, "seconds": 14}],
    }
    page = stop_gradient.table(
        [
            {
                "model": "xl",
                "sizes": {"layers": 3, "dim": 64},
                "updates": 7,
                "runs": runs,
                **CONDITIONS,
            }
        ]
    )
    assert (
        "| xl | after the norm | 2.500 (2.000-3.000) | 0.000 (0.000-0.000) | 11 (10-12) |" in page
    )
    assert "| xl | before the norm | 2.500 (1.900-3.100) | 0.000 (-0.100-0.100) |" in page
    assert "after 7 updates, 3 layers of dimension 64; median (least-most) over 2 seeds" in page


@pytest.mark.slow
def test_both_readings_are_trained_and_differ(tmp_path: Path, monkeypatch) -> None:
    text = tmp_path / "corpora" / "tinyshakespeare" / "input.txt.gz"
    text.parent.mkdir(parents=True)
    speech = "First Citizen:\nSpeak, speak.\n\nAll:\nResolved. resolved.\n"
    text.write_bytes(gzip.compress((speech * 150).encode()))
    monkeypatch.setattr(stop_gradient, "STUDIED", ("transformer-xl",))
    words = ["--corpora", str(tmp_path / "corpora"), "--runs-dir", str(tmp_path / "runs")]
    words += ["--out", str(tmp_path / "out"), "--updates", "3", "--seeds", "1"]
    assert stop_gradient.main(words) == 0
    (record,) = read_records(tmp_path / "out" / "stop_gradient.jsonl")
    after, before = (record["runs"][name][0]["bits"] for name in stop_gradient.READINGS)
    assert 2 < after < 20 and 2 < before < 20 and after != before
    assert SegmentAttention.memory_teaches_norm is False
    assert (tmp_path / "out" / "stop_gradient.md").exists()
