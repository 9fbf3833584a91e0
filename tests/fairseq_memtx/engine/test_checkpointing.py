"""The recurrence run again in pieces for the backward: same values and gradients, less memory."""

from dataclasses import replace

import pytest
import torch

from fairseq_memtx.engine import ENGINES, checkpointing, gemm
from fairseq_memtx.engine.checkpointing import Checkpointed
from fairseq_memtx.modules.dropout import DropoutRates, PackedMasks, draw_layer_masks
from tests.fairseq_memtx.engine.cases import CASES, random_case, relative_errors
from tests.fairseq_memtx.engine.live_bytes import LiveBytes
from tests.fairseq_memtx.engine.stacks import (
    Case,
    Stack,
    check_equal,
    check_frozen,
    gradients,
    random_loss,
)

manual, reference = ENGINES["manual"], ENGINES["reference"]

CARRYING = {
    "all": Case(carried=4),
    "some rows begin anew": Case(carried=4, anew=True, pre_norm=True),
    "per-layer": Case(carried=3, layers=3, memory={"shared_kv": False}),
    "layer dropped": Case(
        carried=3, layers=3, memory={"shared_kv": False}, dropped=frozenset({1}), probs_layer=0
    ),
    "span 1": Case(carried=1, memory={"span": 1}),
    "span 3": Case(carried=3, memory={"span": 3}, length=7),
    "carried beyond the span": Case(carried=5, memory={"span": 3}, length=7),
    "span 17": Case(carried=17, memory={"span": 17}, length=4),
    "relative positions": Case(carried=6, memory={"num_distances": 4}),
    "long": Case(carried=21, length=18, padding="left", anew=True),
    "one position": Case(carried=3, length=1),
}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", CARRYING)
def test_the_manual_engine_gives_carried_memories_the_gradients_of_the_reference(name, dropout):
    stack, found = Stack(replace(CARRYING[name], dropout=dropout)), []
    leaves = [x.requires_grad_() for x in (stack.past.keys, stack.past.values)]
    for engine in (manual, reference):
        loss = random_loss(engine(stack.recurrence()))
        found.append(torch.autograd.grad(loss, leaves))
    assert found[1][1].abs().max() > 0
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


# --- Running again ------------------------------------------------------------------------------


@pytest.fixture
def short_pieces(monkeypatch):
    """Several pieces, the last one shorter, even of the short targets here."""
    monkeypatch.setattr(checkpointing, "piece_length", lambda num_steps: 3)


def packed(stack: Stack) -> list[PackedMasks]:
    return [PackedMasks.pack(masks, stack.layers[0].sizes.dropout) for masks in stack.masks]


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_equal_the_reference(name, short_pieces):
    check_equal(replace(CASES[name], dropout=0.3), Checkpointed(manual))


@pytest.mark.parametrize("length", [1, 2, 50])
@pytest.mark.parametrize("name", ["plain", "left padding", "span 3, long", "relative positions"])
def test_pieces_may_have_any_length(name, length, monkeypatch):
    monkeypatch.setattr(checkpointing, "piece_length", lambda num_steps: length)
    check_equal(replace(CASES[name], dropout=0.3), Checkpointed(manual))


@pytest.mark.parametrize("engine", [manual, reference])
@pytest.mark.parametrize("seed", range(6))
def test_any_options_together_equal_the_reference(seed, engine, short_pieces):
    check_equal(random_case(seed + 100), Checkpointed(engine))


@pytest.mark.parametrize("name", ["plain", "span 3", "per-layer", "some rows begin anew"])
def test_carried_memories_are_taught_as_by_the_reference(name, short_pieces):
    stack, found = Stack(replace({**CASES, **CARRYING}[name], carried=3)), []
    leaves = [x.requires_grad_() for x in (stack.past.keys, stack.past.values)]
    for engine in (Checkpointed(manual), reference):
        found.append(torch.autograd.grad(random_loss(engine(stack.recurrence())), leaves))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7])
def test_packed_masks_come_back_bit_for_bit(rate, dtype):
    rates = DropoutRates(rate, rate / 2, 0.0)
    masks = draw_layer_masks(rates, torch.zeros(6, 3, 8, dtype=dtype), 2, 10, 4, memory_len=9)
    cut = PackedMasks.pack(masks, rates).cut(range(2, 5), range(3, 7))
    assert cut.activation is None
    torch.testing.assert_close(cut.memory_probs, masks.memory_probs[2:5, ..., 3:7], rtol=0, atol=0)
    for name in ("memory_out", "cross_probs", "cross_out", "ffn_out"):
        got, want = getattr(cut, name), getattr(masks, name)[2:5]
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_packed_masks_serve_as_the_recurrences_own(short_pieces):
    stack = Stack(Case(dropout=0.4, length=7))
    want = gradients(random_loss(reference(stack.recurrence())), stack)
    masks, stack.masks = packed(stack), []
    found = gradients(random_loss(Checkpointed(manual, masks)(stack.recurrence())), stack)
    for name, grad in want.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-9, atol=1e-10)


def test_two_graphs_alive_at_once_do_not_disturb_each_other(short_pieces):
    stacks = [Stack(Case(dropout=0.2), seed=seed) for seed in (0, 1)]
    want = [gradients(random_loss(reference(s.recurrence())), s) for s in stacks]
    losses = [random_loss(Checkpointed(manual)(s.recurrence())) for s in stacks]
    for loss, stack, expected in zip(losses, stacks, want, strict=True):
        for name, grad in gradients(loss, stack).items():
            torch.testing.assert_close(grad, expected[name], rtol=1e-9, atol=1e-10)


def test_a_retained_graph_gives_the_same_gradients_again():
    stack = Stack(Case(dropout=0.2, length=19))
    loss = random_loss(Checkpointed(manual)(stack.recurrence()))
    leaves = [p for n, p in stack.named_parameters() if not n.endswith("encoder_attn.k_proj.bias")]
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    second = torch.autograd.grad(loss, leaves)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_weight_changed_before_the_backward_is_an_error():
    stack = Stack(Case())
    loss = random_loss(Checkpointed(manual)(stack.recurrence()))
    with torch.no_grad():
        stack.layers[0].fc1.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("frozen", ["inputs", "encoder_out", "fc1", "memory"])
def test_frozen_weights_have_no_gradient_and_the_others_keep_theirs(frozen, short_pieces):
    check_frozen(Stack(Case(pre_norm=True)), Checkpointed(manual), frozen)


def test_only_some_outputs_have_a_gradient(short_pieces):
    stack = Stack(Case(layers=3))
    for position in (0, 4):
        found = [
            gradients(run(stack.recurrence()).states[2][position].square().sum(), stack)
            for run in (Checkpointed(manual), reference)
        ]
        for name, grad in found[1].items():
            torch.testing.assert_close(found[0][name], grad, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("engine", [manual, reference])
def test_autocast_is_the_same_in_the_backward(dtype, engine, short_pieces):
    """The errors of half precision are those without checkpointing, and not those of float32."""
    stack = Stack(Case(length=20, dim=32, ffn_dim=48, dropout=0.1))
    exact = gradients(random_loss(reference(stack.recurrence())), stack)
    stack.to(torch.float32)
    stack.masks = [type(masks)(*(x.float() for x in masks)) for masks in stack.masks]
    got, want = (
        relative_errors(run, stack, exact, dtype) for run in (Checkpointed(engine), engine)
    )
    rounding = torch.finfo(dtype).eps
    for name in want:
        assert got[name] < 2 * want[name] + 10 * rounding, name
    assert max(got.values()) > rounding / 10


# --- Memory -------------------------------------------------------------------------------------


def live_bytes(engine, stack: Stack) -> tuple[int, int]:
    """Kept for the backward, and the most at any time, inputs, parameters and masks apart."""
    stack.zero_grad(set_to_none=False)
    with LiveBytes() as counted:
        loss = engine(stack.recurrence()).states[-1].square().sum()
        kept = counted.now
        loss.backward()
    return kept, counted.peak


def test_the_buffers_are_those_of_a_piece():
    """Of 8 positions out of 48 here; what else is kept are states, masks in bytes and memories."""
    stack = Stack(Case(layers=4, length=48, batch=4, dim=32, ffn_dim=128, dropout=0.1))
    stack.zero_grad(set_to_none=False)
    random_loss(manual(stack.recurrence())).backward()
    kept, peak = live_bytes(manual, stack)
    masks, stack.masks = packed(stack), []
    kept_again, peak_again = live_bytes(Checkpointed(manual, masks), stack)
    assert kept_again < kept / 5
    assert peak_again < peak / 2


# --- Packed weights -----------------------------------------------------------------------------


def test_a_parameter_is_packed_once_for_the_forward_and_once_for_the_backward(monkeypatch):
    """Not for each piece; what is packed for the forward is not needed between the two."""
    monkeypatch.setattr(checkpointing, "piece_length", lambda num_steps: 4)
    stack, packs = Stack(Case(layers=1, length=16, dtype=torch.float32)), []
    pack = gemm.pack

    def counted(weight):
        packs.append(weight.data_ptr())
        return pack(weight)

    monkeypatch.setattr(gemm, "pack", counted)
    want = gradients(random_loss(manual(stack.recurrence())), stack)
    packs.clear()
    found = gradients(random_loss(Checkpointed(manual)(stack.recurrence())), stack)
    for name, grad in want.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-4)
    used = {p.data_ptr() for p in stack.layers.parameters()} & set(packs)
    assert len(used) == 6
    # forward; forward and backward when it is run again
    assert all(packs.count(pointer) == 3 for pointer in used)


def test_a_parameter_that_has_changed_is_packed_anew():
    weight, x = torch.nn.Parameter(torch.randn(6, 4)), torch.randn(3, 4)
    for _ in range(2):
        with gemm.packed_once():
            for _ in range(2):
                product = gemm.Projection(weight, torch.zeros(6), torch.float32, uses=9)
                torch.testing.assert_close(product(x), (x @ weight.t()).detach())
        with torch.no_grad():
            weight.mul_(2.0)
