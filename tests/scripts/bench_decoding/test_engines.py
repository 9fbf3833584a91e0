"""The engines' step: all engines compute the same; the table is made from the records."""

import sys
from pathlib import Path

import pytest
import torch

from fairseq_memtx.ground.errors import UserError
from scripts.bench_decoding import engine_subjects
from scripts.bench_decoding import engines as bench_engines

RESULTS = Path(__file__).resolve().parents[3] / "results" / "decoding"
SIZES = engine_subjects.Sizes(dim=16, heads=2, inner=24, words=40, layers=2)


@pytest.fixture(scope="module")
def step() -> engine_subjects.PlainStep:
    torch.manual_seed(1)
    return engine_subjects.PlainStep(SIZES).eval()


@pytest.mark.parametrize("sentences", [1, 3])
def test_the_decoding_modes_pieces_compute_the_same_step(step, sentences: int) -> None:
    inputs = engine_subjects.make_inputs(SIZES, sentences, rows=5, slots=7, source=4)
    inputs.bias[:, :, 1, :3] = -torch.inf
    with torch.no_grad():
        wanted = step(*inputs)
        exact, rounded = (engine_subjects.prepared(step, int8)(*inputs) for int8 in (False, True))
    assert wanted[0].shape == (5 * sentences, 40) and wanted[1].shape == (5 * sentences, 32)
    for found, expected in zip(exact, wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert 0 < engine_subjects.largest_error(rounded, wanted) < 0.2


def test_onnx_runtime_computes_the_same_step(step, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    inputs = engine_subjects.make_inputs(SIZES, 2, rows=5, slots=7, source=4)
    with torch.no_grad():
        whole, rounded = engine_subjects.onnx_steps(step, inputs, tmp_path, 1).values()
        other = engine_subjects.make_inputs(SIZES, 3, rows=4, slots=9, source=6)
        wanted = step(*other)
        assert engine_subjects.largest_error(whole(*other), wanted) < 1e-4
        assert engine_subjects.largest_error(rounded(*other), wanted) < 0.2


def test_a_missing_package_is_told_in_one_line(step, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    inputs = engine_subjects.make_inputs(SIZES, 2, rows=5, slots=7, source=4)
    with pytest.raises(UserError, match="pip install onnx onnxruntime"):
        engine_subjects.onnx_steps(step, inputs, tmp_path, 1)


def test_each_round_of_each_engine_is_kept(step, monkeypatch) -> None:
    """The clock ticks once a look; every engine runs as often as a round has room for."""
    monkeypatch.setattr(bench_engines, "SECONDS", 0.0)  # once a round
    ticks = iter(range(100))
    engines = {name: lambda *inputs: None for name in "ab"}
    found = bench_engines.time_engines(engines, (), 3, lambda: next(ticks))
    assert found == {"a": {"seconds": [1, 1, 1]}, "b": {"seconds": [1, 1, 1]}}


def test_the_published_table_is_made_of_its_records() -> None:
    if not (RESULTS / "engines.jsonl").exists():
        pytest.skip("not measured yet")
    records = bench_engines.read_records(RESULTS / "engines.jsonl")
    page = bench_engines.page(records)
    assert page == (RESULTS / "engines.md").read_text(encoding="utf-8")


def test_damaged_records_are_told_in_one_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "engines.jsonl").write_text('{"size": "base-1"}\n', encoding="utf-8")
    assert bench_engines.main(["--out", str(tmp_path), "--table-only"]) == 1
    assert "does not hold whole records (KeyError: " in capsys.readouterr().err
    assert not (tmp_path / "engines.md").exists()
