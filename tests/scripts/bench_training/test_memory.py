"""Memory by length: what is measured, the table, the plot."""

import json

import pytest

from scripts.bench_training import memory as bench_memory
from scripts.shared.benchmark import provenance

MIB = 2**20


def made_up(length: int) -> dict:
    """A record in which ours grows with the length, the reference with its square."""
    peaks = {
        "manual": [length * MIB, (length + 2) * MIB],
        "reference": [length**2 * MIB],
        "fairseq": [2 * length * MIB],
    }
    case = {"what": "decoder", "depth": 2, "dim": 256, "batch": 8, "length": length}
    return {"case": case, "peak_bytes": peaks, **provenance("bench_memory", 1)}


def test_the_table_tells_memory_by_position_and_growth():
    page = bench_memory.table([made_up(32), made_up(64)])
    assert "| 64 | 65 (64-66) | 4096 (4096-4096) | 128 (128-128) | 130.0 | 8192.0 | 256.0 |" in page
    assert "manual's by 1.97, reference's by 4.00, fairseq's by 2.00." in page
    assert "From" not in bench_memory.table([made_up(32)])


def test_page_and_plot_are_the_same_for_the_same_records(tmp_path):
    lines = "".join(json.dumps(made_up(length)) + "\n" for length in (32, 64))
    (tmp_path / "memory.jsonl").write_text(lines)
    found = []
    for _ in range(2):
        assert bench_memory.main(["--table-only", "--out", str(tmp_path)]) == 0
        found.append([(tmp_path / f"memory.{kind}").read_bytes() for kind in ("md", "png", "svg")])
    assert found[0] == found[1]


def test_a_length_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_memory, "DIM", 64)
    line = ["--lengths", "4", "--rounds", "2", "--out", str(tmp_path)]
    assert bench_memory.main(line) == 0
    (line,) = (tmp_path / "memory.jsonl").read_text().split("\n")[:-1]
    record = json.loads(line)
    assert set(record["peak_bytes"]) == {"manual", "reference", "fairseq"}
    assert all(len(peaks) == 2 for peaks in record["peak_bytes"].values())


def test_where_memory_is_not_told_it_ends_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_memory, "DIM", 64)
    monkeypatch.setattr(bench_memory, "peak_bytes", lambda step: None)
    assert bench_memory.main(["--lengths", "2", "--out", str(tmp_path)]) == 1
    assert "error: memory can be measured on Linux only" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "", "3,-1"])
def test_impossible_lengths_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        bench_memory.parse_args(["--lengths", text])
    assert "error:" in capsys.readouterr().err
