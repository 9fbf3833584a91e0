"""The benchmark of training speed: its records, its table, its errors."""

import json

import pytest

from scripts.bench_training import run as bench_training
from scripts.shared import gpu as benchmark_gpu

TINY = ("decoder", 1, 64, 2, 3)


def made_up(name="decoder", seconds=(1.0, 3.0, 2.0)):
    """A record whose baseline takes two seconds."""
    measured = {
        "manual": {"seconds": list(seconds), "peak_bytes": 3 * 2**20},
        "fairseq": {"seconds": [2.0], "peak_bytes": None},
    }
    case = {"what": name, "depth": 2, "dim": 512, "batch": 64, "length": 32}
    return {
        "case": case,
        "dtype": "float32",
        "threads": 1,
        "clock": "processor",
        "contenders": measured,
        "commit": "0123456789abcdef",
        "dirty": False,
        "command": "python -m scripts.bench_training",
        "versions": {"torch": "2.13.0"},
        "hardware": {"cpu": "a processor", "cores": 2},
    }


def test_the_table_shows_medians_and_their_ratio():
    rows = bench_training.table([made_up()]).split("\n")
    assert "| decoder | 2 | 512 | 64 x 32 | **manual** | 2.000 (1.000-3.000) | 1.00 | 3 |" in rows
    assert "| decoder | 2 | 512 | 64 x 32 | fairseq | 2.000 (2.000-2.000) | 1.00 | - |" in rows
    assert sum("a processor" in row for row in rows) == 1


def test_the_table_is_the_same_for_the_same_records(tmp_path):
    lines = "".join(json.dumps(made_up(name)) + "\n" for name in ("decoder", "peers"))
    (tmp_path / "records.jsonl").write_text(lines)
    pages = []
    for _ in range(2):
        assert bench_training.main(["--table-only", "--out", str(tmp_path)]) == 0
        pages.append((tmp_path / "table.md").read_bytes())
    assert pages[0] == pages[1]


def test_contenders_take_turns_in_an_order_that_rotates():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = bench_training.measure(steps, 3, lambda: float(len(calls)))
    assert "".join(calls[6:]) == "abcbcacab"
    assert found["b"]["seconds"] == [1.0, 1.0, 1.0]


def test_a_case_is_measured_and_takes_the_place_of_its_older_record(tmp_path):
    for _ in range(2):
        bench_training.run_cases(tmp_path, [TINY], rounds=2, threads=1)
    (record,) = bench_training.read_records(tmp_path / "records.jsonl")
    assert set(record["contenders"]) == {"manual", "reference", "fairseq"}
    for measured in record["contenders"].values():
        assert len(measured["seconds"]) == 2 and min(measured["seconds"]) > 0
    assert "**manual**" in (tmp_path / "table.md").read_text()


def test_another_precision_leaves_the_record_of_float32_alone(tmp_path):
    for dtype in ("float32", "bf16", "bf16"):
        bench_training.run_cases(tmp_path, [TINY], rounds=1, threads=1, dtype=dtype)
    found = bench_training.read_records(tmp_path / "records.jsonl")
    assert [record["dtype"] for record in found] == ["float32", "bf16"]
    page = (tmp_path / "table.md").read_text()
    assert "processor time, float32" in page and "processor time, bf16" in page


def test_kinds_that_no_case_has_are_refused(tmp_path, capsys):
    argv = ["--cases", "quick", "--only", "update", "--out", str(tmp_path)]
    assert bench_training.main(argv) == 1
    (line,) = (x for x in capsys.readouterr().err.split("\n") if x.startswith("error: "))
    assert "`--only` leaves none" in line
    assert not list(tmp_path.iterdir())


def test_a_dimension_that_the_heads_cannot_share_is_refused():
    from fairseq_memtx.ground.errors import UserError

    with pytest.raises(UserError, match="is 200: it has to be a multiple of its 3 heads"):
        bench_training.make_case("decoder", 1, 200, 2, 3)


@pytest.mark.parametrize("what", ["peers", "update"])
def test_the_other_kinds_of_cases_run(what):
    from scripts.shared.contenders import Case, contenders

    case = Case(what, depth=1, dim=64, batch=2, length=3, vocab=30, encoder_layers=1)
    for step in contenders(case).values():
        step()
        step()


@pytest.mark.parametrize("content", [None, "", '{"case": '])
def test_missing_or_damaged_records_end_in_one_line(content, tmp_path, capsys):
    if content is not None:
        (tmp_path / "records.jsonl").write_text(content)
    assert bench_training.main(["--table-only", "--out", str(tmp_path)]) == 1
    lines = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error: ")]
    assert len(lines) == 1 and "records.jsonl" in lines[0]


def on_gpu():
    """A record as a GPU makes it."""
    contenders = {"cuda-graphs": {"seconds": [0.03], "peak_bytes": 2**30}}
    contenders["fairseq"] = {"seconds": [0.015], "peak_bytes": 2**29}
    told = {"gpu": "a GPU", "cuda": "13.0", "clock": "wall", "dtype": "bf16"}
    return {**made_up(), "contenders": contenders, **told}


def test_without_a_gpu_its_benchmark_ends_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert bench_training.main(["--device", "cuda", "--out", str(tmp_path)]) == 1
    assert "--device` is cuda, but" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_gpu_has_cases_dtype_and_folder_of_its_own():
    args = bench_training.parse_args(["--device", "cuda"])
    assert (args.cases, args.dtype, args.out.name) == ("gpu", "bf16", "training_speed_gpu")
    args = bench_training.parse_args([])
    assert (args.cases, args.dtype, args.out.name) == ("quick", "float32", "training_speed")
    args = bench_training.parse_args(["--device", "cuda", "--cases", "quick", "--out", "x"])
    assert (args.cases, args.out.name) == ("quick", "x")


def test_each_case_of_a_gpu_begins_without_the_recordings_of_others(tmp_path, monkeypatch):
    import torch

    from fairseq_memtx.engine.gpu import cuda_graphs

    recordings, found = [], {"fairseq": {"seconds": [1.0], "peak_bytes": 1}}

    def measure(steps, rounds):
        recordings.append(cuda_graphs._replayer(torch.device("cpu"), 0))
        return {**found, "cuda-graphs": found["fairseq"]}

    monkeypatch.setattr(benchmark_gpu, "require", lambda: None)
    monkeypatch.setattr(benchmark_gpu, "provenance", lambda: {"gpu": "a GPU", "cuda": "13.0"})
    monkeypatch.setattr(benchmark_gpu, "measure", measure)
    monkeypatch.setattr("scripts.shared.contenders.contenders", lambda *args: {})
    bench_training.run_cases(tmp_path, [TINY, ("update", *TINY[1:])], 1, 1, "cuda", "bf16")
    assert len(recordings) == 2 and recordings[0] is not recordings[1]
    cuda_graphs.forget_recordings()


def test_the_table_of_a_gpu_names_it():
    page = bench_training.table([on_gpu()])
    assert "**cuda-graphs** | 0.03000 (0.03000-0.03000) | 2.00 | 1024 |" in page
    assert "a GPU, CUDA 13.0, wall time, bf16" in page
    assert "**cuda-graphs** is ours" in page


def test_steps_on_a_gpu_follow_each_other_between_two_looks_at_the_clock(monkeypatch):
    calls, memory = [], iter([100, 350, 350, 400])
    monkeypatch.setattr("torch.cuda.synchronize", lambda: calls.append("wait"))
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda: next(memory))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: next(memory))
    monkeypatch.setattr(benchmark_gpu.time, "perf_counter", lambda: float(len(calls)))
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    found = benchmark_gpu.measure(steps, rounds=2)
    several = benchmark_gpu.STEPS
    assert [found[name]["peak_bytes"] for name in "ab"] == [250, 50]
    turns = ["a"] * several + ["wait"] + ["b"] * several + ["wait"]
    for name in "abba":
        turns += ["wait", *[name] * several, "wait"]
    assert calls == turns
    assert found["a"]["seconds"] == [(several + 1) / several] * 2


def test_decoders_run_in_bfloat16_and_graphs_only_on_a_gpu(monkeypatch):
    from scripts.shared import contenders as room

    case = room.Case("decoder", depth=1, dim=64, batch=2, length=3, vocab=30, encoder_layers=1)
    steps = room.contenders(case, room.Place(dtype="bf16"))
    assert set(steps) == {"manual", "reference", "fairseq"}
    for step in steps.values():
        step()
    monkeypatch.setattr(room.Place, "put", lambda self, x: x)
    names = set(room.contenders(case, room.Place("cuda", "bf16")))
    assert names == {"cuda-graphs", "manual", "reference", "fairseq"}
