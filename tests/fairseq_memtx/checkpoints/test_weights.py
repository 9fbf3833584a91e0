"""Weights that are no numbers, and more of them than a file holds."""

from pathlib import Path

import pytest
import torch

from fairseq_memtx.checkpoints import sizes, weights
from fairseq_memtx.ground.errors import UserError


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_no_number_is_named(value: float, dtype: torch.dtype) -> None:
    held = {"a": torch.ones(3, 4, dtype=dtype), "b": torch.ones(3, 4, dtype=dtype)}
    weights.check_finite(held, "x.pt")
    held["b"][1, 2] = value
    with pytest.raises(UserError, match=r"the weight `b` in .* has NaN or infinite values"):
        weights.check_finite(held, "x.pt")


def test_large_numbers_are_numbers() -> None:
    weights.check_finite({"a": torch.full((9,), 3e38), "n": torch.tensor([1])}, "x.pt")


def test_what_fairseq_never_fills_is_left_out() -> None:
    held = {"encoder.embed_positions._float_tensor": torch.tensor([float("nan")])}
    weights.check_finite(held, "x.pt")


def test_a_tied_weight_is_no_bomb(tmp_path: Path) -> None:
    weight = torch.zeros(1000)
    state = {"model": {"a": weight, "b": weight, "c": weight, "d": torch.zeros(5).expand(5, 5)}}
    torch.save(state, tmp_path / "x.pt")
    weights.check_sizes(state, tmp_path / "x.pt")
    state["model"]["e"] = torch.zeros(1).expand(100_000)
    with pytest.raises(UserError, match="would take"):
        weights.check_sizes(state, tmp_path / "x.pt")


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(10**9, 3),
        lambda: torch.nn.Linear(10**5, 10**5),
        lambda: torch.nn.Embedding(10**8, 16),
        lambda: torch.arange(10**11),
        lambda: torch.arange(10.0**5)[:, None] * torch.arange(10.0**5),
        lambda: [torch.empty(1 << 24) for _ in range(2000)],
    ],
)
def test_nothing_large_is_made(make) -> None:
    state = {"model": {"w": torch.zeros(100)}, "cfg": {"model": {"decoder_layers": 2}}}
    with pytest.raises(UserError, match="holds 100"), sizes.bounded(state, "x.pt"):
        make()


def test_what_fits_is_made() -> None:
    state = {"model": {"w": torch.zeros(100)}, "cfg": {"model": {"decoder_layers": 2}}}
    with sizes.bounded(state, "x.pt"):
        assert torch.nn.Linear(30, 30)(torch.ones(2, 30)).shape == (2, 30)
    sizes.check_settings(state, "x.pt")


@pytest.mark.parametrize(
    ("name", "value"),
    [("decoder_layers", 10**7), ("decoder_ffn_embed_dim", 10**10), ("max_target_positions", 10**9)],
)
def test_no_setting_is_larger_than_the_weights_can_tell(name: str, value: int) -> None:
    state = {"model": {"w": torch.zeros(100)}, "cfg": {"model": {name: value}}}
    with pytest.raises(UserError, match=f"`{name}` is {value:,}"):
        sizes.check_settings(state, "x.pt")
