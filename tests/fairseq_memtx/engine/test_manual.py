"""The manual engine against the reference: every option, values and gradients, in float64."""

import dataclasses
import gc
import itertools
import weakref
from dataclasses import replace
from statistics import median

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from fairseq_memtx.compute import onednn
from fairseq_memtx.config import FeedbackOptions, choices_of
from fairseq_memtx.engine import ENGINES, RecurrenceOutput
from fairseq_memtx.engine import memory_gather as gather_room
from fairseq_memtx.engine import memory_reads as reads_room
from fairseq_memtx.engine import tape as tape_room
from fairseq_memtx.engine.stack_run import StackRun
from tests.choosing import some
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

# What the engine calls a weight.
NAMES_INSIDE = {
    "fc2.bias": "fc2.bias",
    "memory.k_proj.0.weight": "memory.k_proj.0.weight",
    "memory.mixture.weight": "memory.probs",
    "memory.mixture.router": "memory.router",
}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_equal_the_reference(name, dropout):
    check_equal(replace(CASES[name], dropout=dropout))


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=[pytest.mark.slow] * (n >= 16)) for n in range(40)]
)
def test_any_options_together_equal_the_reference(seed):
    check_equal(random_case(seed))


PRODUCT = list(
    itertools.product(
        ["softmax", "mean", "routed", "last", "1"],  # mixture
        [True, False],  # shared keys and values
        [0, 1, 4],  # span
        [0, 3],  # distances
        [False, True],  # pre-norm
    )
)


# By default 52 of them, in which each choice of an option meets each of every other.
@pytest.mark.parametrize(
    "number",
    [pytest.param(n, marks=[pytest.mark.slow] * (n % 7 > 2)) for n in range(len(PRODUCT))],
)
def test_every_combination_of_the_memorys_options_equals_the_reference(number):
    """With dropout, and with what else there is in turns whose lengths have no common factor."""
    mixture, shared_kv, span, num_distances, pre_norm = PRODUCT[number]
    layers = (1, 2, 3)[number // 4 % 3]
    memory = {
        "mixture": mixture, "shared_kv": shared_kv, "span": span, "num_distances": num_distances,
        "channels": min(1 + number % 3, layers),
    }  # fmt: skip
    case = Case(
        layers=layers,
        length=(6, 1, 3, 9, 2)[number // 3 % 5],
        pre_norm=pre_norm,
        cross=number % 7 > 0,
        memory=memory,
        dropout=0.3,
        activation=(F.relu, F.gelu)[number // 5 % 2],
        padding=(None, "left", "right", "both")[number // 7 % 4],
    )
    check_equal(case)


@pytest.mark.parametrize("name", ["plain", "left padding", "span 17, long", "relative positions"])
def test_windows_need_no_empty_entries(name, monkeypatch):
    """As on an accelerator, where short rows cost nothing."""
    monkeypatch.setattr(reads_room, "MIN_WIDTH", 0)
    check_equal(replace(CASES[name], dropout=0.2))


@pytest.mark.parametrize("rows", [1, 7, 30])
@pytest.mark.parametrize("name", ["plain", "pre-norm", "per-layer", "relative positions", "gelu"])
def test_gradients_may_be_summed_in_chunks(name, rows, monkeypatch):
    """Chunks of one position, of two, and of ten, the last of them shorter."""
    monkeypatch.setitem(tape_room.CHUNK_ROWS, "cpu", rows)
    check_equal(replace(CASES[name], dropout=0.2, length=13))


@pytest.mark.parametrize("block", [1, 2, 3, 50])
@pytest.mark.parametrize("name", ["plain", "per-layer", "span 3, long", "left padding"])
def test_memories_may_be_gathered_in_blocks(name, block, monkeypatch):
    monkeypatch.setattr(gather_room, "BLOCK", block)
    check_equal(replace(CASES[name], dropout=0.2, length=14))


def test_gradcheck():
    stack = Stack(Case(layers=1, length=3, batch=2, dim=4, ffn_dim=3, pre_norm=True, dropout=0.2))

    def function(inputs, encoder_out, *parameters):
        out = manual(stack.recurrence())
        return *out.states, out.cross_probs

    leaves = [stack.inputs, stack.encoder_out, *stack.layers.parameters()]
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("name", ["fc2.bias", "memory.k_proj.0.weight", "memory.mixture.weight"])
def test_a_wrong_gradient_is_noticed(name, monkeypatch):
    """Negative control: one percent too much in a single gradient."""
    backward = StackRun.backward

    def wrong(self, *args):
        found = backward(self, *args)
        return {n: 1.01 * g if n.endswith(NAMES_INSIDE[name]) else g for n, g in found.items()}

    monkeypatch.setattr(StackRun, "backward", wrong)
    with pytest.raises(AssertionError, match=name):
        check_equal(Case())


@pytest.mark.parametrize("name", ["memory.mixture.weight", "memory.mixture.router"])
def test_a_wrong_gradient_of_the_routed_weights_is_noticed(name, monkeypatch):
    monkeypatch.setitem(NAMES_INSIDE, "memory.mixture.weight", "memory.offsets")
    backward = StackRun.backward

    def wrong(self, *args):
        found = backward(self, *args)
        return {n: 1.01 * g if n == NAMES_INSIDE[name] else g for n, g in found.items()}

    monkeypatch.setattr(StackRun, "backward", wrong)
    with pytest.raises(AssertionError, match=name):
        check_equal(Case(memory={"mixture": "routed", "channels": 2}))


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("probs_layer", [None, 1])
def test_without_gradients_the_values_are_the_same(pre_norm, probs_layer):
    stack = Stack(Case(pre_norm=pre_norm, length=20, dropout=0.2, probs_layer=probs_layer))
    want = reference(stack.recurrence())
    with torch.no_grad():
        got = manual(stack.recurrence())
    for a, b in itertools.zip_longest(
        [*got.states, got.cross_probs], [*want.states, want.cross_probs]
    ):
        assert (a is None) == (b is None)
        if a is not None:
            assert not a.requires_grad
            torch.testing.assert_close(a, b)


def test_without_gradients_nothing_is_kept():
    """But the states, the memories and the inputs."""
    stack, peaks = Stack(Case(length=48, dim=32, ffn_dim=128)), []
    for grad in (False, True):
        with torch.set_grad_enabled(grad), LiveBytes() as counted:
            manual(stack.recurrence())
        peaks.append(counted.peak)
    assert peaks[0] < peaks[1] / 2


def test_only_some_states_have_a_gradient():
    stack = Stack(Case(layers=3))
    for chosen in ([3], [1], [0, 2]):
        losses = [
            sum(run(stack.recurrence()).states[i].square().sum() for i in chosen)
            for run in (manual, reference)
        ]
        got, want = (gradients(loss, stack) for loss in losses)
        for name, grad in want.items():
            torch.testing.assert_close(got[name], grad)


def test_two_graphs_alive_at_once_do_not_disturb_each_other():
    stacks = [Stack(Case(), seed=seed) for seed in (0, 1)]
    want = [gradients(random_loss(reference(s.recurrence())), s) for s in stacks]
    losses = [random_loss(manual(s.recurrence())) for s in stacks]
    for i in (0, 1):
        for name, grad in gradients(losses[i], stacks[i]).items():
            torch.testing.assert_close(grad, want[i][name])


def test_gradients_accumulate_over_batches():
    stack = Stack(Case())
    for engine in (manual, reference):
        stack.zero_grad()
        for seed in (1, 2):
            random_loss(engine(stack.recurrence()), seed).backward()
        found = {n: p.grad.clone() for n, p in stack.named_parameters() if p.grad is not None}
        if engine is manual:
            got = found
    for name, grad in found.items():
        torch.testing.assert_close(got[name], grad)


@pytest.mark.parametrize("frozen", ["inputs", "encoder_out", "fc1", "memory", "layer_norm"])
def test_frozen_weights_have_no_gradient_and_the_others_keep_theirs(frozen):
    check_frozen(Stack(Case(pre_norm=True)), manual, frozen)


def test_a_retained_graph_gives_the_same_gradients_again():
    stack = Stack(Case(dropout=0.2))
    loss = random_loss(manual(stack.recurrence()))
    loss.backward(retain_graph=True)
    first = {name: parameter.grad.clone() for name, parameter in used(stack)}
    stack.zero_grad()
    loss.backward()
    for name, parameter in used(stack):
        torch.testing.assert_close(parameter.grad, first[name], rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def used(stack):
    """Parameters that have a gradient, by name."""
    return [(name, p) for name, p in stack.named_parameters() if p.grad is not None]


def test_second_derivatives_are_refused():
    stack = Stack(Case())
    loss = manual(stack.recurrence()).states[-1].square().sum()
    (grad,) = torch.autograd.grad(loss, stack.inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_a_weight_changed_before_the_backward_is_an_error():
    stack = Stack(Case())
    loss = random_loss(manual(stack.recurrence()))
    with torch.no_grad():
        stack.layers[0].fc1.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_state_changed_before_the_backward_is_an_error():
    stack = Stack(Case())
    out = manual(stack.recurrence())
    loss = random_loss(out)
    out.states[1].detach().mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_buffers_are_freed_with_the_graph():
    stack = Stack(Case())
    out = manual(stack.recurrence())
    run = weakref.ref(out.states[-1].grad_fn.run)
    assert run() is not None
    gc.disable()
    try:
        del out
        assert run() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_gives_the_same_gradients(reentrant):
    stack = Stack(Case())

    def states(inputs):
        return torch.stack(manual(replace(stack.recurrence(), inputs=inputs)).states)

    out = checkpoint(states, stack.inputs, use_reentrant=reentrant)
    random_loss(RecurrenceOutput(list(out), None)).backward()
    expected = reference(stack.recurrence())._replace(cross_probs=None)
    want = gradients(random_loss(expected), stack)
    for name, parameter in stack.named_parameters():
        if not name.startswith("encoder_attn"):
            torch.testing.assert_close(parameter.grad, want[name])


@pytest.mark.parametrize(
    ("dtype", "pre_norm", "autocast"),
    some(
        itertools.product(
            [torch.bfloat16, torch.float32, torch.float16], [True, False], [True, False]
        ),
        5,
    ),
)
def test_errors_of_lower_precisions_are_those_of_the_reference(dtype, pre_norm, autocast):
    """In float32 that also checks the packed products; in half precision, weights are halves.

    Medians over several stacks: the rounding of one may flip a ReLU and all that follows from it.
    That also makes the errors of one stack's weights rise and fall together, hence the two bounds.
    """
    memory = {"mixture": "routed", "channels": 2}
    case = Case(length=20, dim=32, ffn_dim=48, dropout=0.1, pre_norm=pre_norm, memory=memory)
    lower, cast = torch.float32 if autocast else dtype, dtype if autocast else None
    errors = [errors_in(lower, Stack(case, seed), cast) for seed in range(5)]
    got, want = ({name: median(one[k][name] for one in errors) for name in errors[0][k]}
                 for k in (0, 1))  # fmt: skip
    rounding = 10 * torch.finfo(dtype).eps
    assert median(got.values()) < 2 * median(want.values()) + rounding
    for name in want:
        assert got[name] < 4 * want[name] + rounding, name


def errors_in(lower, stack, autocast):
    """Of the gradients of both engines, from those in float64."""
    exact = gradients(random_loss(reference(stack.recurrence())), stack)
    stack.to(lower)
    stack.masks = [type(masks)(*(x.to(lower) for x in masks)) for masks in stack.masks]
    return [relative_errors(engine, stack, exact, autocast) for engine in (manual, reference)]


@pytest.mark.parametrize("shared_kv", [False, True])
def test_plain_products_take_the_place_of_packed_ones(shared_kv, monkeypatch):
    stack = Stack(Case(length=9, dtype=torch.float32, memory={"shared_kv": shared_kv}))
    packed = gradients(random_loss(manual(stack.recurrence())), stack)
    monkeypatch.setattr(onednn, "packing_works", lambda: False)
    plain = gradients(random_loss(manual(stack.recurrence())), stack)
    for name, grad in plain.items():
        torch.testing.assert_close(packed[name], grad, rtol=1e-4, atol=1e-4)


def test_packed_products_work_here():
    """Says so when a new torch takes them away; the engine would only be slower."""
    assert onednn.packing_works()


def test_the_flag_offers_all_engines_and_the_manual_one_is_the_default():
    (engine,) = (f for f in dataclasses.fields(FeedbackOptions) if f.name == "engine")
    assert choices_of(engine) == tuple(ENGINES)
    assert engine.default == "manual"
