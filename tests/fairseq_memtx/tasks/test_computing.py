"""How our tasks compute: `--memtx-cpu-math` and `--memtx-loss`, for every model."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.optim.adam import Adam
from torch import Tensor

from fairseq_memtx.compute import plan
from fairseq_memtx.compute.plan import Found
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.tasks import computing
from tests.choosing import some
from tests.fairseq_memtx.tiny_training import TINY, load, make_data, run_training

SEGMENTS = "--memtx-segment-len 4 --memtx-mem-len 4"
ARCHITECTURES = {
    "transformer": "",
    "memtx_feedback": "",
    "memtx_transformer_xl": SEGMENTS,
    "memtx_compressive": f"{SEGMENTS} --memtx-compression-rate 2 --criterion memtx_compression",
}
SMOOTHED = "--criterion label_smoothed_cross_entropy --label-smoothing 0.1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("computing") / "data", train_pairs=30)


def train(data: Path, folder: Path, flags: str, arch: str = "memtx_feedback") -> dict[str, Tensor]:
    """The weights after three updates without dropout."""
    words = f"--arch {arch} {SMOOTHED} {ARCHITECTURES[arch]}"
    tiny = TINY.replace("--arch memtx_feedback", words).replace("--dropout 0.1", "--dropout 0")
    how = "--max-update 3 --adam-eps 0.001 --disable-validation"
    run_training(data, folder, *f"{how} {flags}".split(), tiny=tiny)
    return load(folder / "checkpoint_last.pt")["model"]


def assert_near(got: dict[str, Tensor], want: dict[str, Tensor], most: float) -> None:
    assert got.keys() == want.keys()
    for name, x in want.items():
        assert float((got[name] - x).abs().max()) < most, name


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets every trial choose oneDNN; the kinds of product that were tried."""
    tried: list[str] = []
    monkeypatch.setattr(
        plan, "try_both", lambda kind, *shape: tried.append(kind) or Found(2.0, 1.0)
    )
    return tried


@pytest.mark.parametrize("arch", some(ARCHITECTURES, 2))
def test_every_model_trains_the_same_with_onednns_products(
    data: Path, tmp_path: Path, arch: str, onednn: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    want = train(data, tmp_path / "torch", "", arch)
    assert onednn == []
    with caplog.at_level(logging.INFO):
        got = train(data, tmp_path / "float32", "--memtx-cpu-math float32", arch)
    assert_near(got, want, 1e-5)
    assert {plan.FORWARD, plan.INPUT_GRADIENT, plan.WEIGHT_GRADIENT} <= set(onednn)
    assert any("oneDNN's for" in r.message for r in caplog.records)


def test_the_trial_is_real_without_a_test(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    want = train(data, tmp_path / "torch", "")
    with caplog.at_level(logging.INFO):
        got = train(data, tmp_path / "float32", "--memtx-cpu-math float32")
    assert_near(got, want, 1e-5)
    assert any("--memtx-cpu-math float32: products by" in r.message for r in caplog.records)


@pytest.mark.slow
def test_adam_in_one_pass_goes_on_from_fairseqs_and_back(data: Path, tmp_path: Path) -> None:
    """Both have the same state in checkpoints."""
    fast = "--memtx-cpu-math float32"
    for number, (first, second) in enumerate([("", ""), (fast, ""), ("", fast)]):
        for flags, updates in ((first, 3), (second, 6)):
            found = train(data, tmp_path / str(number), f"{flags} --max-update {updates}")
        if number == 0:
            want = found
    assert_near(found, want, 1e-5)
    state = load(tmp_path / "1" / "checkpoint_last.pt")["last_optimizer_state"]["state"]
    assert set(state[0]) == {"step", "exp_avg", "exp_avg_sq"} and state[0]["step"] == 6


def test_adam_of_another_kind_is_fairseqs() -> None:
    assert not computing.adam_at_once(None)
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    parameter.grad = torch.ones_like(parameter)
    assert not computing._is_plain(Adam([parameter]).param_groups[0])


def losses(caplog: pytest.LogCaptureFixture) -> list[float]:
    lines = [r.message for r in caplog.records if r.name == "train_inner"]
    return [float(json.loads(line)["loss"]) for line in lines]


@pytest.mark.parametrize("arch", some(["memtx_feedback", "transformer", "memtx_transformer_xl"], 3))
def test_bfloat16_trains_nearly_the_same(
    data: Path, tmp_path: Path, arch: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Where the processor has none torch imitates it, slowly and exactly."""
    monkeypatch.setattr(computing, "has_bfloat16", lambda: True)
    logged = "--log-format json --log-interval 1"
    found: dict[str, Any] = {}
    for math in ("torch", "bfloat16"):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            weights = train(data, tmp_path / math, f"--memtx-cpu-math {math} {logged}", arch)
        assert {x.dtype for x in weights.values() if x.is_floating_point()} == {torch.float32}
        found[math] = weights, losses(caplog)
    assert len(found["torch"][1]) == 3
    assert found["bfloat16"][1] == pytest.approx(found["torch"][1], rel=0.02)
    assert found["bfloat16"][1] != found["torch"][1] or arch != "transformer"
    assert_near(found["bfloat16"][0], found["torch"][0], 0.06)  # three steps of 0.01, either way


def test_bfloat16_is_refused_where_the_processor_has_none(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "has_bfloat16", lambda: False)
    with pytest.raises(UserError, match="--memtx-cpu-math has to be float32 or torch on this"):
        train(data, tmp_path, "--memtx-cpu-math bfloat16")


@pytest.mark.parametrize("flags", ["--bf16", "--amp", "--memory-efficient-fp16"])
def test_another_precision_is_refused(data: Path, tmp_path: Path, flags: str) -> None:
    with pytest.raises(UserError, match=r"--memtx-cpu-math is .* leave it out with"):
        train(data, tmp_path, f"--memtx-cpu-math float32 {flags}")


@pytest.mark.parametrize("flag", ["--memtx-cpu-math", "--memtx-loss"])
def test_an_unknown_choice_is_refused(data: Path, tmp_path: Path, flag: str) -> None:
    with pytest.raises(UserError, match=f"{flag} is nonsense: it has to be one of"):
        train(data, tmp_path, f"{flag} nonsense")


def test_the_criterion_of_a_checkpoint_is_fairseqs_by_name(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, "")
    history = load(tmp_path / "checkpoint_last.pt")["optimizer_history"]
    assert history[-1]["criterion_name"] == "LabelSmoothedCrossEntropyCriterion"
