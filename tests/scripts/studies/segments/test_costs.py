"""The benchmarks of the segment decoders: what they measure at a tiny size, and their tables."""

from pathlib import Path

import pytest

from scripts.studies.segments import decoding as bench_decoding_cost
from scripts.studies.segments import training as bench_segments

CONDITIONS = {
    "threads": 1,
    "clock": "processor",
    "versions": {"torch": "2.0"},
    "hardware": {"cpu": "a processor", "cores": 2},
    "commit": "0123456789abcdef",
    "dirty": False,
}


def test_the_training_table_is_made_from_the_records_alone():
    seconds = {"transformer": [2.0, 4.0, 3.0], "transformer-xl": [3.0, 4.0, 3.0]}
    record = {
        "length": 64,
        "batch": 32,
        "sizes": {"depth": 2, "dim": 512},
        "settings": {"transformer": {}, "transformer-xl": {"memtx_segment_len": 32}},
        "contenders": {name: {"seconds": s} for name, s in seconds.items()},
        **CONDITIONS,
    }
    page = bench_segments.table([record])
    assert "| 32 x 64 | transformer | - | 3.000 (2.000-4.000) | 1.00 |" in page
    assert "| 32 x 64 | transformer-xl | 32 | 3.000 (3.000-4.000) | 1.00 |" in page
    assert "2 layers, dimension 512, 1 thread(s), processor time" in page


def test_the_decoding_table_is_made_from_the_records_alone():
    after = [
        {"tokens": 100, "seconds_per_token": [0.001, 0.003, 0.002], "state_bytes": 2048},
        {"tokens": 10000, "seconds_per_token": [0.002], "state_bytes": 4096},
    ]
    sizes = {"depth": 2, "dim": 256}
    page = bench_decoding_cost.table(
        [{"decoder": "xl", "after": after, "sizes": sizes, **CONDITIONS}]
    )
    assert "| decoder | after 100: ms | KiB | after 10,000: ms | KiB |" in page
    assert "| xl | 2.00 (1.00-3.00) | 2 | 2.00 (2.00-2.00) | 4 |" in page


@pytest.mark.parametrize("name", ["transformer", "transformer-xl", "compressive"])
def test_bounded_memories_keep_their_state_and_a_transformer_s_grows(name, monkeypatch):
    for constant, value in {"DIM": 64, "DEPTH": 1, "ROWS": 1, "SEGMENT": 4, "ROUNDS": 1}.items():
        monkeypatch.setattr(bench_decoding_cost, constant, value)
    settings = dict(bench_decoding_cost.SETTINGS)
    arch, options = settings[name]
    short = {key: 4 if key.endswith("len") else 2 for key in options}
    monkeypatch.setitem(bench_decoding_cost.SETTINGS, name, (arch, short))
    found = bench_decoding_cost.bench(name, [20, 120])["after"]
    assert [one["tokens"] for one in found] == [20, 120]
    assert all(len(one["seconds_per_token"]) == 1 for one in found)
    sizes = [one["state_bytes"] for one in found]
    assert (sizes[1] > sizes[0]) if name == "transformer" else (sizes[0] == sizes[1])


@pytest.mark.parametrize("script", [bench_segments, bench_decoding_cost])
def test_flags(script, tmp_path: Path):
    args = script.parse_args(["--out", str(tmp_path), "--table-only"])
    assert args.out == tmp_path and args.table_only
    assert script.main(["--out", str(tmp_path / "none"), "--table-only"]) == 1
