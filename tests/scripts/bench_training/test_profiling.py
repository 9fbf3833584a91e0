"""The profile of training: kinds of work, its numbers, its page."""

import json

import pytest

from scripts.bench_training import profiling as profile_training
from scripts.bench_training.profiling import (
    ATTENTION,
    BETWEEN,
    ELEMENTWISE,
    KINDS,
    MANY,
    ONE,
    PACKING,
)
from scripts.shared.benchmark import provenance, read_records


@pytest.mark.parametrize(
    ("name", "shapes", "kind"),
    [
        ("aten::mm", [[64, 8], [8, 9]], MANY),
        ("aten::addmm", [[9], [4, 8], [8, 9], [], []], ONE),
        ("aten::addmm_", [[1, 9], [1, 8], [8, 9], [], []], ATTENTION),
        ("mkldnn::_linear_pointwise", [[4, 8], [9, 8], [9], [], [], []], ONE),
        ("mkldnn::_linear_pointwise", [[4, 8], [4, 9], [9, 8], [], []], ONE),
        ("mkldnn::_reorder_linear_weight", [[9, 8], []], PACKING),
        ("aten::baddbmm", [[8, 1, 3], [8, 1, 2], [8, 2, 3], [], []], ATTENTION),
        ("aten::_softmax_backward_data", [[8, 1, 3], [8, 1, 3], [], []], ATTENTION),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [[2, 2, 3, 4]], ATTENTION),
        ("aten::copy_", [[4, 8], [4, 8], []], ELEMENTWISE),
        ("aten::native_layer_norm_backward", [[4, 8]], ELEMENTWISE),
        ("aten::select", [[4, 8], [], []], BETWEEN),
        ("_FeedbackBackward", [[4, 8]], BETWEEN),
        ("autograd::engine::evaluate_function: MmBackward0", [], BETWEEN),
    ],
)
def test_kinds_of_work(name, shapes, kind):
    assert profile_training.kind_of(name, shapes, rows=4) == kind


@pytest.mark.parametrize(
    ("name", "shapes", "operations"),
    [
        ("aten::mm", [[4, 8], [8, 9]], 2 * 4 * 8 * 9),
        ("aten::addmm", [[9], [4, 8], [8, 9], [], []], 2 * 4 * 8 * 9),
        ("mkldnn::_linear_pointwise", [[4, 8], [9, 8], [], [], [], []], 2 * 4 * 8 * 9),
        ("mkldnn::_linear_pointwise", [[4, 8], [4, 9], [9, 8], [], []], 2 * 4 * 8 * 9),
        ("aten::bmm", [[5, 4, 8], [5, 8, 9]], 5 * 2 * 4 * 8 * 9),
        ("aten::baddbmm_", [[5, 4, 9], [5, 4, 8], [5, 8, 9], [], []], 5 * 2 * 4 * 8 * 9),
        ("aten::add", [[4, 8], [4, 8], []], 0),
    ],
)
def test_operations_of_products(name, shapes, operations):
    assert profile_training.operations(name, shapes) == operations


def test_a_profile_counts_what_a_step_does():
    import torch

    x, weight, batch = torch.randn(6, 8), torch.randn(8, 9), torch.randn(5, 2, 2)

    def step():
        for _ in range(3):
            x.mm(weight)
        x[:2].mm(weight)
        batch.bmm(batch).softmax(-1)

    found = profile_training.profile(step, rows=2).kinds
    assert {kind: found[kind]["calls"] for kind in (MANY, ONE, ATTENTION, PACKING)} == {
        MANY: 3,
        ONE: 1,
        ATTENTION: 3,  # the softmax is an operation within an operation
        PACKING: 0,
    }
    assert found[MANY]["operations"] == 3 * 2 * 6 * 8 * 9
    assert all(found[kind]["seconds"] > 0 for kind in (MANY, ONE, ATTENTION))


def made_up() -> dict:
    """Ours takes 4 seconds, fairseq's 3."""

    def contender(total: float, seconds: dict, calls: float) -> dict:
        none = {"seconds": 0.0, "calls": 0, "operations": 0}
        kinds = {kind: dict(none) for kind in KINDS}
        for kind, value in seconds.items():
            kinds[kind] = {"seconds": value, "calls": 7, "operations": 10**10}
        return {
            "seconds": [total, total + 1, total - 1],
            "kinds": kinds,
            "seconds_of_calls": [calls],
        }

    case = {"what": "decoder", "depth": 2, "dim": 512, "batch": 16, "length": 128}
    contenders = {
        "manual": contender(4.0, {ONE: 1.0, MANY: 0.5, ATTENTION: 2.0}, 0.25),
        "fairseq": contender(3.0, {MANY: 1.0, ATTENTION: 0.5}, 0.125),
    }
    return {"case": case, "contenders": contenders, **provenance("profile_training", 1)}


def test_the_page_adds_up_and_says_what_stands_in_the_way():
    page = profile_training.table([made_up()])
    assert (
        "| products, one position | 1.000 | 25 % | 7 | 10 | 0.000 | 0 % | 0 |  | +1.000 |" in page
    )
    assert "| between operations | 0.500 | 12 % |  |  | 1.500 | 50 % |  |  | -1.000 |" in page
    assert "| step | 4.000 | 100 % |  |  | 3.000 | 100 % |  |  | +1.000 |" in page
    assert "takes 1.33 of fairseq's time" in page
    parts = "products +0.500, attention +1.500, elementwise, norms, copies +0.000"
    assert f"the difference in seconds: {parts}, between operations -1.000." in page
    assert "Most of it is attention: with one query at a time" in page
    assert "for memory (5 GFLOP/s)" in page
    assert "take 0.250 s, fairseq's 0.125." in page


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ONE, "Most of it is products: at 16 rows (1 GFLOP/s; fairseq's 10)"),
        (ELEMENTWISE, "Most of it is elementwise, norms, copies: sums, norms and copies"),
        (BETWEEN, "Most of it is between operations: each position passes through Python"),
    ],
)
def test_the_largest_difference_is_explained(kind, reason):
    record = made_up()
    if kind == BETWEEN:
        record["contenders"]["manual"]["seconds"] = [14.0]
    else:
        record["contenders"]["manual"]["kinds"][kind]["seconds"] = 10.0
    assert reason in profile_training.table([record])


@pytest.mark.slow
def test_a_case_is_profiled(tmp_path, monkeypatch):
    monkeypatch.setattr(profile_training, "DIM", 64)
    argv = ["--layers", "1", "--batch", "2", "--length", "5", "--rounds", "2"]
    assert profile_training.main([*argv, "--out", str(tmp_path)]) == 0
    (record,) = read_records(tmp_path / "profile.jsonl")
    assert set(record["contenders"]) == {"manual", "fairseq"}
    ours = record["contenders"]["manual"]
    assert ours["kinds"][ONE]["calls"] > ours["kinds"][PACKING]["calls"] > 0
    assert len(ours["seconds"]) == len(ours["seconds_of_calls"]) == 2
    assert json.loads((tmp_path / "profile.jsonl").read_text()) == record
    page = (tmp_path / "profile.md").read_bytes()
    assert profile_training.main(["--table-only", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "profile.md").read_bytes() == page
