"""The parallel engine: exact after enough sweeps, approximate before, for every option."""

import dataclasses
import itertools
from dataclasses import replace

import pytest
import torch

from fairseq_memtx.config import FeedbackOptions
from fairseq_memtx.engine import ENGINES, Sweeps, block_memory
from fairseq_memtx.modules.feedback import feedback_step
from fairseq_memtx.modules.memory import MemoryTrace
from tests.fairseq_memtx.engine.cases import CASES, random_case
from tests.fairseq_memtx.engine.stacks import Case, Stack, check_equal, gradients, random_loss
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens

reference = ENGINES["reference"]


@pytest.mark.parametrize(
    "block", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", CASES)
def test_as_many_sweeps_as_a_block_has_positions_are_exact(name, block):
    case = replace(CASES[name], dropout=0.3)
    check_equal(case, Sweeps(block or case.length, block))


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=[pytest.mark.slow] * (n >= 8)) for n in range(20)]
)
def test_any_options_together_are_exact_after_enough_sweeps(seed):
    block = seed % 6
    case = random_case(seed)
    check_equal(case, Sweeps(block or case.length, block))


@pytest.mark.parametrize(
    "groups", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(9, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", CASES)
def test_of_several_groups_each_sweep_settles_as_many_positions(name, groups):
    case = replace(CASES[name], dropout=0.3)
    check_equal(case, Sweeps(-(-case.length // groups), 0, 0, groups))


@pytest.mark.parametrize("seed", range(12))
def test_any_options_together_are_exact_after_enough_sweeps_in_groups(seed):
    block, groups = seed % 6, seed % 3 + 2
    case = random_case(seed)
    check_equal(case, Sweeps(-(-(block or case.length) // groups), block, 0, groups))


@pytest.mark.parametrize("block, groups", [(0, 1), (1, 1), (3, 1), (0, 4), (4, 3)])
def test_more_sweeps_change_nothing(block, groups):
    stack = Stack(Case(length=6))
    enough, more = (Sweeps(n, block, 0, groups)(stack.recurrence()) for n in (block or 6, 50))
    for a, b in zip(enough.states, more.states, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def state_errors(engine, stack):
    """The distance of the last state from the exact one at each position, `(T,)`."""
    with torch.no_grad():
        got, want = (run(stack.recurrence()).states[-1] for run in (engine, reference))
    return (got - want).flatten(1).norm(dim=1)


@pytest.mark.parametrize("sweeps, groups", [(1, 1), (2, 1), (5, 1), (1, 4), (2, 3)])
def test_each_sweep_settles_one_position_of_each_group_more(sweeps, groups):
    """Also the negative control: the others are not exact."""
    errors = state_errors(Sweeps(sweeps, 0, 0, groups), Stack(Case(length=9)))
    assert errors[: sweeps * groups].max() < 1e-12
    assert errors[sweeps * groups :].min() > 1e-9


@pytest.mark.parametrize("block, sweeps", [(3, 1), (3, 2), (4, 1)])
def test_a_block_begins_as_far_as_the_blocks_before_it_have_come(block, sweeps):
    """The first block is what the whole target is; what follows builds on what was left there."""
    stack = Stack(Case(length=8))
    errors = state_errors(Sweeps(sweeps, block), stack)
    assert errors[:sweeps].max() < 1e-12
    torch.testing.assert_close(errors[:block], state_errors(Sweeps(sweeps), stack)[:block])
    assert errors[sweeps:].min() > 1e-9


@pytest.mark.parametrize("block", [0, 8])
def test_the_error_falls_with_the_sweeps(block):
    stack = Stack(Case(length=16, dim=16, heads=4, padding=None))
    errors = [float(state_errors(Sweeps(n, block), stack).max()) for n in (1, 3, 5, 7)]
    assert all(after < before / 2 for before, after in itertools.pairwise(errors))


def test_a_memory_of_embeddings_needs_one_sweep():
    """The guess is then no guess."""
    check_equal(Case(memory={"mixture": "first"}, length=7), Sweeps(1))


def test_gradients_through_the_last_sweeps_only_leave_the_values_alone():
    stack = Stack(Case(length=7, dropout=0.2))
    whole, cut = (Sweeps(4, 0, grads)(stack.recurrence()) for grads in (0, 1))
    for a, b in zip(whole.states, cut.states, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def by_hand(stack, sweeps, grads, groups):
    """Sweeps as the reference would do them: each position a step from given memories."""
    r = stack.recurrence()
    states = [[x] * (len(r.layers) + 1) for x in r.inputs]
    memories = [r.memory(old) for old in states]
    for number in range(sweeps):
        if number == sweeps - grads > 0:
            states = [[old[0], *(x.detach() for x in old[1:])] for old in states]
            memories = [r.memory(old) for old in states]
        for group in range(groups):
            found = memories.copy()
            for t in range(group, len(r.inputs), groups):
                x, past = r.inputs[t], MemoryTrace(r.memory, r.inputs[t])
                for s, memory in enumerate(memories[:t]):
                    past.add_memory(*memory, r.padding_mask[:, s])
                padding = r.padding_mask[:, t]
                states[t] = feedback_step(r.layers, r.memory, x, past, r.sources, padding).states
                found[t] = r.memory(states[t])
            memories = found
    return states


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("sweeps, grads", [(1, 1), (3, 1), (3, 2), (3, 3), (4, 2)])
def test_sweeps_and_their_gradients_are_those_done_by_hand(sweeps, grads, groups):
    memory = {"span": 4, "num_distances": 3}
    stack = Stack(Case(length=9, probs_layer=None, memory=memory if groups == 2 else {}))
    if sweeps * groups > 9:
        pytest.skip("exact, so that fewer sweeps are made")
    weights = torch.randn(9, 3, 8, dtype=torch.float64)
    engine = Sweeps(sweeps, 0, grads, groups)
    got = gradients((engine(stack.recurrence()).states[-1] * weights).sum(), stack)
    last = torch.stack([states[-1] for states in by_hand(stack, sweeps, grads, groups)])
    want = gradients((last * weights).sum(), stack)
    for name, grad in want.items():
        torch.testing.assert_close(got[name], grad, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize(
    "grads, reaches", [(1, {3}), (2, {2, 3}), (3, {1, 2, 3}), (0, set(range(4)))]
)
def test_a_truncated_gradient_goes_back_as_many_positions(grads, reaches):
    """With a span of 1, a sweep looks back one position; embeddings take no part in `last`."""
    memory = {"span": 1, "mixture": "last"}
    stack = Stack(Case(length=4, memory=memory, padding=None, cross=False))
    loss = Sweeps(4, 0, grads)(stack.recurrence()).states[-1][3].square().sum()
    grad = gradients(loss, stack)["inputs"]
    assert {t for t in range(4) if grad[t].abs().max() > 0} == reaches


def test_one_sweep_with_a_gradient_still_teaches_the_memory():
    stack = Stack(Case(length=6))
    grads = gradients(random_loss(Sweeps(4, 0, 1)(stack.recurrence())), stack)
    for name in ("memory.k_proj.0.weight", "memory.v_proj.0.weight", "memory.mixture.weight"):
        assert grads[name].abs().max() > 1e-6, name


def test_a_gradient_through_few_sweeps_needs_less_memory():
    """Counted in what autograd saves."""
    sizes = []
    for grads in (1, 2, 6):
        stack, saved = Stack(Case(length=8)), []
        hooks = (lambda x, saved=saved: saved.append(x.numel()) or x, lambda x: x)
        with torch.autograd.graph.saved_tensors_hooks(*hooks):
            Sweeps(6, 0, grads)(stack.recurrence())
        sizes.append(sum(saved))
    assert sizes[0] < 0.65 * sizes[1] < 0.5 * sizes[2]


def test_blocks_look_back_no_further_than_the_span(monkeypatch):
    widths = []
    attend = block_memory.BlockView.attend

    def watched(view, *args):
        widths.append(view.keys.size(2))
        return attend(view, *args)

    monkeypatch.setattr(block_memory.BlockView, "attend", watched)
    Sweeps(1, 3)(Stack(Case(length=9, layers=1, memory={"span": 2})).recurrence())
    assert widths == [3, 5, 5]


def test_without_gradients_nothing_is_kept():
    stack = Stack(Case())
    with torch.no_grad():
        out = Sweeps(3)(stack.recurrence())
    assert not any(x.requires_grad for x in [*out.states[1:], out.cross_probs])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_runs_under_autocast(dtype):
    stack = Stack(Case(length=6, dim=32, ffn_dim=48, dtype=torch.float32))
    exact = ENGINES["manual"](stack.recurrence()).states[-1]
    with torch.autocast("cpu", dtype):
        got = Sweeps(6)(stack.recurrence()).states[-1]
    assert (got.float() - exact).norm() / exact.norm() < 10 * torch.finfo(dtype).eps


def test_the_flags_have_the_engines_defaults():
    defaults = {item.name: item.default for item in dataclasses.fields(FeedbackOptions)}
    for item in dataclasses.fields(Sweeps):
        name = item.name if item.name == "sweeps" else f"sweep_{item.name}"
        assert item.default == defaults[name]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"sweeps": 0}, "--memtx-sweeps is 0: it has to be at least 1"),
        ({"sweep_block": -1}, "--memtx-sweep-block is -1: it has to be at least 0"),
        ({"sweep_groups": 0}, "--memtx-sweep-groups is 0: it has to be at least 1"),
        (
            {"sweeps": 3, "sweep_grads": 4},
            "--memtx-sweep-grads is .* it has to be at most --memtx-sweeps 3",
        ),
    ],
)
def test_impossible_sweeps_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        FeedbackOptions(engine="parallel", **given)


@pytest.mark.parametrize("name", ["sweeps", "sweep_block", "sweep_grads", "sweep_groups"])
@pytest.mark.parametrize("engine", ["manual", "reference"])
def test_sweeps_of_another_engine_are_refused(engine, name):
    message = f"--memtx-{name.replace('_', '-')} is .* leave it out without --memtx-engine parallel"
    with pytest.raises(ValueError, match=message):
        FeedbackOptions(engine=engine, **{name: 2})


def test_a_model_sweeps_in_training_and_is_exact_outside_of_it():
    torch.manual_seed(1)
    source, tokens = random_source([4, 3]), random_tokens([7, 5])
    exact, swept = (
        build_model(memtx_engine=name, **more).decoder
        for name, more in [("reference", {}), ("parallel", {"memtx_sweeps": 2})]
    )
    features = {
        (name, training): decoder.train(training)(tokens, source, features_only=True)[0]
        for name, decoder in [("exact", exact), ("swept", swept)]
        for training in (False, True)
    }
    torch.testing.assert_close(features["swept", False], features["exact", False])
    torch.testing.assert_close(features["swept", True][:, :2], features["exact", True][:, :2])
    assert (features["swept", True] - features["exact", True]).abs().max() > 1e-6


def test_a_model_takes_all_four_settings():
    settings = {"sweeps": 5, "sweep_block": 3, "sweep_grads": 2, "sweep_groups": 4}
    named = {f"memtx_{name}": value for name, value in settings.items()}
    decoder = build_model(memtx_engine="parallel", **named).decoder.train()
    assert decoder.engine() == Sweeps(5, 3, 2, 4)
