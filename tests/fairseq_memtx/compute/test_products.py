"""Products by a plan, dropout masks and Adam: what they replace, to rounding."""

import logging
import math
import platform
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from fairseq.optim.adam import Adam
from torch import Tensor, nn

from fairseq_memtx.compute import linear, onednn, plan
from fairseq_memtx.compute.adam import AdamSettings, adam_step
from fairseq_memtx.compute.dropout import fast_masks, kept, scaled_mask
from fairseq_memtx.compute.functions import in_place_of_torchs
from fairseq_memtx.compute.plan import Found, Plan, following
from fairseq_memtx.decoding.linear import FrozenLinear
from fairseq_memtx.tasks.computing import has_bfloat16

KINDS = (plan.FORWARD, plan.INPUT_GRADIENT, plan.WEIGHT_GRADIENT)
ONEDNN, TORCH = Found(2.0, 1.0), Found(1.0, 2.0)


def plan_of(*kinds: str) -> Plan:
    """A plan that chooses oneDNN for these kinds."""
    return Plan(lambda kind, outputs, inputs: ONEDNN if kind in kinds else TORCH)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The shapes of oneDNN's products from now on."""
    shapes: list[tuple] = []
    stock = onednn.packed_linear

    def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        shapes.append((tuple(x.shape), tuple(weight.shape)))
        return stock(x, weight, bias)

    monkeypatch.setattr(linear, "packed_linear", product)
    return shapes


# --- A linear map -------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kinds", [KINDS[:1], KINDS[1:2], KINDS[2:], KINDS])
def test_a_linear_map_and_its_gradients_are_torchs(
    kinds: tuple[str, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = counted(monkeypatch)
    module = nn.Linear(5, 7, bias=bias)
    x, grad = torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 3, 7)
    tensors = [x, *module.parameters()]
    want = torch.autograd.grad(module(x), tensors, grad)
    with in_place_of_torchs(plan_of(*kinds)):
        y = module(x)
        found = torch.autograd.grad(y, tensors, grad)
    torch.testing.assert_close(y, module(x))
    torch.testing.assert_close(found, want)
    assert len(shapes) == len(kinds)


def test_attention_follows_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's attention calls the function with weights that it takes from the modules."""
    shapes = counted(monkeypatch)
    attention, x = nn.MultiheadAttention(6, 2), torch.randn(4, 3, 6)
    want, _ = attention(x, x, x)
    with in_place_of_torchs(plan_of(*KINDS)):
        found, _ = attention(x, x, x)
    torch.testing.assert_close(found, want)
    assert len(shapes) >= 2


@pytest.mark.parametrize(
    "make",
    [lambda x: x.double(), lambda x: x.bfloat16(), lambda x: x[:0]],
    ids=["float64", "bfloat16", "empty"],
)
def test_what_a_plan_is_not_for_is_torchs(
    make: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = counted(monkeypatch)
    x = make(torch.randn(3, 5))
    weight = torch.randn(7, 5).to(x.dtype)
    with in_place_of_torchs(plan_of(*KINDS)):
        assert torch.equal(F.linear(x, weight), linear.plain_linear(x, weight))
    assert shapes == []


def test_autocast_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = counted(monkeypatch)
    with in_place_of_torchs(plan_of(*KINDS)), torch.autocast("cpu", torch.bfloat16):
        assert F.linear(torch.randn(3, 5), torch.randn(7, 5)).dtype == torch.bfloat16
    assert shapes == []


def test_torchs_functions_come_back_after_an_error() -> None:
    stock = F.linear, F.dropout, F.scaled_dot_product_attention
    with pytest.raises(ZeroDivisionError), in_place_of_torchs(Plan()):
        found = F.linear, F.dropout, F.scaled_dot_product_attention
        assert not set(found) & set(stock)
        raise ZeroDivisionError
    assert (F.linear, F.dropout, F.scaled_dot_product_attention) == stock
    assert plan.plan_in_use() is None


# --- The trial ----------------------------------------------------------------------------------


def test_each_size_and_kind_is_tried_once() -> None:
    asked: list[tuple[str, int, int]] = []
    tried = Plan(lambda *key: asked.append(key) or ONEDNN)
    for _ in range(2):
        tried.try_all([(4, 3), (4, 3), (2, 3)])
    assert len(asked) == len(set(asked)) == 6
    assert "6 of 6" in tried.describe() and "2.00 times" in tried.describe()
    slow = plan_of()
    slow.try_all([(4, 3)])
    assert "torch's own are the fastest for all 3" in slow.describe()


def test_a_size_that_nobody_tried_before_is_tried_within_a_step() -> None:
    """Where torch's function is replaced already."""
    x, weight = torch.randn(3, 5), torch.randn(7, 5, requires_grad=True)
    tried = Plan()
    with in_place_of_torchs(tried):
        torch.testing.assert_close(F.linear(x, weight), x @ weight.t())
    assert {kind for kind, *_ in tried.found} >= {plan.FORWARD}


def test_only_what_is_clearly_faster_is_chosen() -> None:
    assert not Found(1.0, 0.96).chosen
    assert Found(1.0, 0.94).chosen


@pytest.mark.parametrize("kind", [*KINDS, plan.STEP, plan.STEP_BACK])
def test_a_trial_times_the_same_product_twice(kind: str) -> None:
    torch_s, onednn_s = plan._products(kind, 8, 6)
    torch.testing.assert_close(torch_s(), onednn_s())
    state = torch.get_rng_state()
    assert 0.0 < plan.try_both(kind, 8, 6).onednn < math.inf
    assert torch.equal(torch.get_rng_state(), state)


def test_without_onednn_torch_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "packing_works", lambda: False)
    assert not Plan().chooses_onednn(plan.FORWARD, 4, 4)


def test_no_plan_is_followed_outside() -> None:
    with following(Plan()) as nothing:
        assert nothing is None and plan.plan_in_use() is not None
    assert plan.plan_in_use() is None


# --- Dropout ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_masks_drop_as_often_as_they_should(rate: float) -> None:
    torch.manual_seed(1)
    count = 400_000
    share = 1.0 - kept(rate, (count,)).double().mean().item()
    assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / count)


def test_entries_of_a_word_are_independent() -> None:
    torch.manual_seed(1)
    x = kept(0.5, (100_000, 4)).double()
    assert (torch.corrcoef(x.t()) - torch.eye(4)).abs().max() < 0.02
    assert torch.corrcoef(torch.stack([x[:-1, 3], x[1:, 0]]))[0, 1].abs() < 0.02


def test_masks_depend_on_the_seed_alone() -> None:
    with fast_masks():
        torch.manual_seed(3)
        one = scaled_mask(0.25, (3, 5, 7), torch.zeros(1))
        torch.manual_seed(3)
        assert torch.equal(scaled_mask(0.25, (3, 5, 7), torch.zeros(1)), one)
    torch.testing.assert_close(one.unique(), torch.tensor([0.0, 1 / 0.75]))
    torch.manual_seed(3)
    assert not torch.equal(scaled_mask(0.25, (3, 5, 7), torch.zeros(1)), one)


@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_and_its_gradient(inplace: bool) -> None:
    x = torch.randn(50, requires_grad=True)
    with in_place_of_torchs(None):
        y = F.dropout(x * 1.0, 0.4, True, inplace)
        assert F.dropout(x, 0.4, training=False) is x
        assert not F.dropout(x, 1.0).any()
    mask = y.detach() / x.detach()
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], mask)
    assert set(mask.mul(0.6).round().unique().tolist()) == {0.0, 1.0}


# --- Adam ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype, rounding", [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_adam_is_fairseqs(weight_decay: float, dtype: torch.dtype, rounding: float) -> None:
    torch.manual_seed(1)
    ours = [torch.randn(n, dtype=dtype) for n in (3, 40)]
    stock = [nn.Parameter(x.clone()) for x in ours]
    how = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 1e-3, "weight_decay": weight_decay}
    optimizer = Adam(stock, **how)
    averages, squares = ([torch.zeros_like(x) for x in ours] for _ in range(2))
    for step in range(1, 6):
        gradients = [torch.randn_like(x) for x in ours]
        for p, grad in zip(stock, gradients, strict=True):
            p.grad = grad.clone()
        optimizer.step()
        adam_step(ours, gradients, averages, squares, AdamSettings(*how.values(), step))
    torch.testing.assert_close(ours, [p.data for p in stock], rtol=rounding, atol=rounding)
    for kind, found in (("exp_avg", averages), ("exp_avg_sq", squares)):
        want = [optimizer.state[p][kind] for p in stock]
        torch.testing.assert_close(found, want, rtol=rounding, atol=rounding)


# --- Without oneDNN's private products ----------------------------------------------------------


@pytest.fixture
def without_onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a torch that was built without it, as for Apple's processors, or renamed them."""
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(), raising=False)
    onednn.packing_works.cache_clear()
    yield
    onednn.packing_works.cache_clear()


def test_torchs_own_products_take_the_place_of_those_that_are_missing(
    without_onednn: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert not onednn.packing_works()
    assert "torch's packed linear map cannot be used" in caplog.text
    module, x, other = nn.Linear(5, 7), torch.randn(3, 5), torch.randn(3, 7)
    with torch.no_grad():
        fast = FrozenLinear([module], relu=True)
        torch.testing.assert_close(fast(x), module(x).relu())
        fast = FrozenLinear([module])
        torch.testing.assert_close(fast.add(x, other.clone()), module(x) + other)
    found = Plan()
    found.try_all([(7, 5)])
    assert found.describe().startswith("torch's own are the fastest for all")
    with in_place_of_torchs(found):
        torch.testing.assert_close(module(x), F.linear(x, module.weight, module.bias))


def test_bfloat16_is_refused_where_nothing_tells_of_it(
    without_onednn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert not has_bfloat16()
