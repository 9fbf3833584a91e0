"""Linear layers in eight bits against the same layers in float, and both integer products."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fairseq_memtx.modules import int8
from fairseq_memtx.modules.int8 import (
    Int8Linear,
    brief_product,
    int_product,
    packed_product,
    round_linears,
    round_rows,
)
from fairseq_memtx.modules.rounding import is_rounded, round_model
from tests.fairseq_memtx.tiny import build_model, random_tokens


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def test_rounding_is_within_half_a_step_and_keeps_the_largest() -> None:
    weight = torch.randn(7, 11) * torch.logspace(-6, 6, 7)[:, None]
    integers, scale = round_rows(weight)
    assert integers.dtype == torch.int8
    assert ((integers * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001).all()
    assert (integers.abs().amax(dim=1) == 127).all()


def test_a_row_of_zeros_stays_zero() -> None:
    integers, scale = round_rows(torch.zeros(2, 3))
    assert (integers == 0).all() and scale.isfinite().all()


@pytest.mark.parametrize("make", [packed_product, brief_product, int_product])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 32), (5, 32), (3, 4, 32), (200, 32)])
def test_products_stay_near_that_of_the_rounded_weight(make, bias: bool, shape) -> None:
    linear = nn.Linear(32, 24, bias=bias)
    layer = Int8Linear.of(linear)
    x = torch.randn(shape)
    product = make(layer.weight_int8, layer.scale, layer.bias)
    exact = nn.functional.linear(x, layer.float_weight(), layer.bias)
    assert product(x).shape == exact.shape
    assert relative_error(product(x), exact) < 0.03  # inputs have seven or eight bits


@pytest.mark.parametrize("bias", [True, False])
def test_many_rows_and_outputs_are_multiplied_by_another_library_to_the_same(bias, monkeypatch):
    layer = Int8Linear.of(nn.Linear(16, int8.MANY_OUTPUTS, bias))
    x = torch.randn(2, 75, 16)
    assert x[..., 0].numel() * layer.out_features >= int8.MANY_PRODUCTS
    engines, pack = [], int8.pack
    monkeypatch.setattr(
        int8,
        "pack",
        lambda *weight: engines.append(torch.backends.quantized.engine) or pack(*weight),
    )
    before = torch.backends.quantized.engine
    both = layer(x)
    assert torch.backends.quantized.engine == before
    if "onednn" in torch.backends.quantized.supported_engines:
        assert engines == [before, "onednn"]
    monkeypatch.setattr(int8, "MANY_PRODUCTS", 1 << 40)
    torch.testing.assert_close(both, layer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(
    "qnnpack" not in torch.backends.quantized.supported_engines, reason="torch lacks QNNPACK"
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [24, int8.MANY_OUTPUTS])
def test_arms_library_multiplies_too(bias: bool, outputs: int, monkeypatch) -> None:
    """QNNPACK, the only one that torch has on Arm; x86's and oneDNN's are hidden."""
    monkeypatch.setattr(int8, "has_onednn", lambda: False)
    layer, x = Int8Linear.of(nn.Linear(32, outputs, bias)), torch.randn(200, 32)
    with int8.quantized_engine("qnnpack"):
        found = layer(x), layer.select(torch.arange(7))(x)
    exact = nn.functional.linear(x, layer.float_weight(), layer.bias)
    assert relative_error(found[0], exact) < 0.03
    assert relative_error(found[1], exact[:, :7]) < 0.03


def test_int_product_rounds_each_row_by_itself() -> None:
    layer = Int8Linear.of(nn.Linear(16, 8))
    product = int_product(layer.weight_int8, layer.scale, layer.bias)
    x = torch.randn(6, 16) * torch.logspace(-3, 3, 6)[:, None]
    alone = torch.cat([product(row[None]) for row in x])
    torch.testing.assert_close(product(x), alone)


def test_selected_outputs_are_those_of_the_whole() -> None:
    layer, rows = Int8Linear.of(nn.Linear(16, 40)), torch.tensor([39, 0, 7, 7])
    x = torch.randn(3, 16)
    torch.testing.assert_close(layer.select(rows)(x), layer(x)[:, rows])


def test_half_precision_in_and_out() -> None:
    layer = Int8Linear.of(nn.Linear(16, 8))
    assert layer(torch.randn(2, 16).half()).dtype == torch.half


@pytest.mark.parametrize("bias", [True, False])
def test_state_of_a_float_layer_and_of_its_own_kind(bias: bool) -> None:
    linear, x = nn.Linear(16, 8, bias=bias), torch.randn(3, 16)
    layer = Int8Linear.of(linear)
    from_float, from_int8 = Int8Linear(16, 8, bias), Int8Linear(16, 8, bias)
    from_float(x)  # packs the weight that is then replaced
    from_float.load_state_dict(linear.state_dict())
    from_int8.load_state_dict(layer.state_dict())
    for other in (from_float, from_int8, copy.deepcopy(layer)):
        torch.testing.assert_close(other(x), layer(x), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        from_float.load_state_dict(nn.Linear(15, 8, bias=bias).state_dict())


def test_the_callers_state_is_left_as_it_is() -> None:
    linear = nn.Linear(4, 4)
    state = linear.state_dict()
    Int8Linear(4, 4).load_state_dict(state)
    assert sorted(state) == ["bias", "weight"]


def test_every_linear_layer_is_replaced_but_those_to_keep() -> None:
    class Special(nn.Linear):
        pass

    module = nn.ModuleDict(
        {"a": nn.Linear(2, 2), "deep": nn.Sequential(nn.Linear(2, 2), Special(2, 2)),
         "r_proj": nn.Linear(2, 2)}
    )  # fmt: skip
    assert round_linears(module, keep=("r_proj",)) == 2
    kinds = [type(child) for child in (module["a"], *module["deep"], module["r_proj"])]
    assert kinds == [Int8Linear, Int8Linear, Special, nn.Linear]


MODELS = ["transformer", "memtx_feedback", "memtx_transformer_xl", "memtx_compressive"]


@pytest.mark.parametrize("name", MODELS)
def test_a_rounded_model_stays_near_the_float_one(name: str) -> None:
    model = build_model(name, decoder_layers=2).float()
    source = random_tokens([5, 3], "left")
    lengths, target = torch.tensor([5, 3]), random_tokens([6, 4])
    with torch.no_grad():
        expected, _ = model(source, lengths, target)
        found, _ = round_model(model)(source, lengths, target)
    assert is_rounded(model)
    names = {path.rpartition(".")[2] for path, part in model.named_modules()
             if type(part) is nn.Linear}  # fmt: skip
    assert names <= {"r_proj"}
    assert 0 < relative_error(found, expected) < 0.1


@pytest.mark.parametrize("name", MODELS)
def test_a_rounded_model_decodes_step_by_step_as_at_once(name: str) -> None:
    model = round_model(build_model(name, decoder_layers=2).float())
    for part in model.modules():
        if isinstance(part, Int8Linear):  # this product does not depend on the other rows
            part._product = int_product(part.weight_int8, part.scale, part.bias)
    source, target = random_tokens([5, 3]), random_tokens([6, 6])
    with torch.no_grad():
        encoded = model.encoder(source, torch.tensor([5, 3]))
        whole, _ = model.decoder(target, encoded)
        state: dict = {}
        steps = [model.decoder(target[:, : t + 1], encoded, incremental_state=state)[0]
                 for t in range(6)]  # fmt: skip
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-2, atol=1e-2)


def test_rounding_twice_is_rounding_once() -> None:
    model = round_model(build_model().float())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert all(torch.equal(before[name], value)
               for name, value in round_model(model).state_dict().items())  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_input_that_is_no_number_is_told_as_everywhere(value: float) -> None:
    layer, x = Int8Linear.of(nn.Linear(8, 4)), torch.randn(3, 8)
    x[1, 2] = value
    with pytest.raises(FloatingPointError, match="the model has diverged"):
        layer(x)
