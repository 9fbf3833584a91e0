"""Relative attention with bounded memories: against plain loops, and one form against another."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairseq_memtx.modules.compression import COMPRESSIONS
from fairseq_memtx.modules.segment_attention import SegmentAttention, SegmentPass
from fairseq_memtx.modules.segment_cache import LayerCache
from fairseq_memtx.modules.segment_layer import identity
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentLengths
from tests.fairseq_memtx.modules.segment_oracle import (
    NaiveAttention,
    build_attention,
    memory_of,
    naive_auto_encoding,
    naive_reconstruction,
)

EXACT = {"rtol": 1e-9, "atol": 1e-11}
DIM = 8


def random_states(*shape: int) -> Tensor:
    return torch.randn(*shape, DIM, dtype=torch.float64)


@st.composite
def cases(draw, functions=(None, *COMPRESSIONS)):
    """Lengths and an attention that fits them."""
    function = draw(st.sampled_from(functions))
    rate = draw(st.sampled_from([1, 2, 3])) if function else 1
    segment = rate * draw(st.integers(1, 3))
    memory = draw(st.integers(0, 7))
    if function == "most-used":
        memory = segment * draw(st.integers(1, 2))
    compressed = draw(st.integers(1, 5)) if function else 0
    same = draw(st.booleans()) and memory + compressed > 0
    lengths = SegmentLengths(segment, memory, compressed, rate, same)
    attention = build_attention(
        compression=function,
        rate=rate,
        loss=draw(st.sampled_from(["reconstruction", "auto-encoding", "bptt"])),
        learned=draw(st.sampled_from([0, 3])),
        clamp_len=draw(st.sampled_from([0, 4])),
        seed=draw(st.integers(0, 99)),
    )
    return attention, lengths


many = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@given(
    case=cases(), texts=st.lists(st.lists(st.integers(1, 11), min_size=2, max_size=2), max_size=3)
)
@many
def test_sentences_of_a_document_equal_algorithm_1(case, texts):
    """Two documents side by side, sentence after sentence, with padding and carried memory."""
    attention, lengths = case
    naive = [NaiveAttention(attention, lengths) for _ in range(2)]
    memory = None
    for sizes in [[5, 9], *texts]:
        x = random_states(2, max(sizes))
        how = SegmentPass(lengths, num_words=torch.tensor(sizes), keep=True)
        out, memory, _ = attention(x, identity, how, memory)
        for b, size in enumerate(sizes):
            torch.testing.assert_close(out[b, :size], naive[b].run(x[b, :size]), **EXACT)
        expected = memory_of(naive)
        assert_same_memory(memory, expected, usage=memory.usage is not None)


def assert_same_memory(memory: LayerMemory, expected: LayerMemory, usage: bool = False) -> None:
    for name in ("recent", "compressed"):
        states, wanted = getattr(memory, name), getattr(expected, name)
        exists = exists_in(states, getattr(memory, name + "_hidden"))
        wanted_exists = exists_in(wanted, getattr(expected, name + "_hidden"))
        for b in range(len(states)):
            assert exists[b].tolist() == sorted(exists[b].tolist()), "entries stand to the right"
            torch.testing.assert_close(states[b][exists[b]], wanted[b][wanted_exists[b]], **EXACT)
        if name == "recent" and usage:
            wanted_usage = expected.usage * wanted_exists
            torch.testing.assert_close(memory.usage * exists, wanted_usage, **EXACT)


def exists_in(states: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
    """Which of the states exist."""
    if hidden is None:
        return states.new_ones(states.shape[:2], dtype=torch.bool)
    return ~hidden


def test_without_padding_nothing_is_masked_and_the_result_is_the_same():
    attention, lengths = build_attention(compression="conv"), SegmentLengths(4, 4, 3, 2)
    x = random_states(2, 14)
    plain = attention(x, identity, SegmentPass(lengths, keep=True))
    counted = attention(x, identity, SegmentPass(lengths, torch.tensor([14, 14]), keep=True))
    torch.testing.assert_close(plain.out, counted.out, **EXACT)
    torch.testing.assert_close(plain.loss, counted.loss, **EXACT)
    assert_same_memory(plain.memory, counted.memory)
    assert plain.memory.recent_hidden is None


def gradients(attention: SegmentAttention, norm, x: Tensor, form: str, how, memory):
    """Output, loss and every gradient, by one of the two forms."""
    leaves = {**dict(attention.named_parameters()), "x": x, **dict(norm.named_parameters())}
    result = getattr(attention, form)(x, norm, how, memory)
    weights = torch.linspace(-1, 2, result.out.numel(), dtype=x.dtype).view_as(result.out)
    total = (result.out * weights).sum()
    if result.loss is not None:
        total = total + result.loss
    if how.keep:
        total = total + result.memory.compressed.square().sum()
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return result, {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), found, strict=True)
    }


@given(
    case=cases(functions=[None, "max-pool", "mean-pool", "conv", "dilated-conv"]),
    length=st.integers(1, 20),
    carried=st.booleans(),
    keep=st.booleans(),
    pre_norm=st.booleans(),
)
@many
def test_all_segments_at_once_equal_one_after_the_other(case, length, carried, keep, pre_norm):
    attention, lengths = case
    norm = torch.nn.LayerNorm(DIM).double() if pre_norm else torch.nn.Identity()
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    memory = LayerMemory.empty(random_states(2, 1))
    if carried:
        earlier = SegmentPass(lengths, torch.tensor([13, 6]), keep=True)
        memory = attention(random_states(2, 13), norm, earlier).memory.map(Tensor.detach)
    x = random_states(2, length).requires_grad_()
    how = SegmentPass(lengths, keep=keep)
    fast, fast_grads = gradients(attention, norm, x, "at_once", how, memory)
    slow, slow_grads = gradients(attention, norm, x, "loop", how, memory)
    torch.testing.assert_close(fast.out, slow.out, **EXACT)
    torch.testing.assert_close(fast_grads, slow_grads, **EXACT)
    assert (fast.loss is None) == (slow.loss is None)
    if fast.loss is not None:
        torch.testing.assert_close(fast.loss, slow.loss, **EXACT)
    if keep:
        assert_same_memory(fast.memory, slow.memory)


def run_cache(
    attention, lengths, x, memory, orders=None, padding=None
) -> tuple[Tensor, LayerCache]:
    cache = LayerCache(attention, identity, lengths, memory)
    outs = []
    for t in range(x.size(1)):
        outs.append(
            cache.attend_position(x[:, t], None if padding is None else padding[:, t], False)
        )
    return torch.stack(outs, dim=1), cache


@given(case=cases(), length=st.integers(1, 20), carried=st.booleans())
@many
@torch.no_grad()
def test_step_by_step_equals_the_whole(case, length, carried):
    attention, lengths = case
    memory = LayerMemory.empty(random_states(3, 1))
    if carried:
        earlier = SegmentPass(lengths, torch.tensor([13, 6, 1]), keep=True)
        memory = attention(random_states(3, 13), identity, earlier).memory
    x = random_states(3, length)
    whole = attention(x, identity, SegmentPass(lengths), memory).out
    steps, cache = run_cache(attention, lengths, x, memory)
    torch.testing.assert_close(steps, whole, **EXACT)
    limit = lengths.segment + lengths.memory + lengths.compressed
    assert cache.keys.length <= limit


@pytest.mark.parametrize("function", [None, *COMPRESSIONS])
@torch.no_grad()
def test_reorder_then_step_equals_the_reordered_prefix(function):
    attention = build_attention(compression=function)
    lengths = SegmentLengths(4, 4, 3 if function else 0, 2)
    x, order = random_states(3, 19), torch.tensor([2, 0, 0, 1, 2])
    for cut in (1, 4, 5, 8, 12, 13, 17):
        _, cache = run_cache(attention, lengths, x[:, :cut], LayerMemory.empty(x))
        cache.reorder(order)
        reordered = torch.cat([x[order, :cut], random_states(5, 6)], dim=1)
        expected = attention(reordered, identity, SegmentPass(lengths)).out[:, cut:]
        found = [cache.attend_position(reordered[:, t], None, False) for t in range(cut, cut + 6)]
        torch.testing.assert_close(torch.stack(found, dim=1), expected, **EXACT)


@torch.no_grad()
def test_reorder_of_the_wrong_rows_is_noticed():
    attention, lengths = build_attention(), SegmentLengths(3, 3)
    x = random_states(2, 5)
    whole = attention(x, identity, SegmentPass(lengths)).out
    _, cache = run_cache(attention, lengths, x[:, :4], LayerMemory.empty(x))
    cache.reorder(torch.tensor([1, 0]))
    assert not torch.allclose(cache.attend_position(x[:, 4], None, False), whole[:, 4])


@pytest.mark.parametrize("function", [None, "conv", "most-used"])
@torch.no_grad()
def test_the_state_is_bounded_and_its_bytes_are_counted(function):
    attention = build_attention(compression=function)
    lengths = SegmentLengths(4, 8, 2 if function else 0, 2)
    x = random_states(2, 1)[:, 0]
    cache = LayerCache(attention, identity, lengths, LayerMemory.empty(x[:, None]))
    sizes = []
    for _ in range(120):
        cache.attend_position(x, None, False)
        sizes.append(cache.size_bytes())
    assert max(sizes[-40:]) == max(sizes[40:80])
    entries = 2 * DIM * 8 * 2 + 2  # keys and values of two rows in float64, and a flag each
    assert cache.size_bytes() >= cache.keys.length * entries
    assert cache.keys.length <= 8 + 4 + lengths.compressed


def test_causality_and_its_negative_control():
    attention, lengths = build_attention(compression="conv"), SegmentLengths(4, 4, 3, 2)
    x = random_states(1, 19)
    before = attention(x, identity, SegmentPass(lengths)).out
    for t in (0, 3, 4, 9, 16):
        changed = x.clone()
        changed[:, t] += 1.0
        after = attention(changed, identity, SegmentPass(lengths)).out
        torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=0)
        assert not torch.allclose(after[:, t:], before[:, t:])


@pytest.mark.parametrize("function", [None, *COMPRESSIONS])
def test_padding_changes_nothing_before_it(function):
    attention = build_attention(compression=function)
    lengths = SegmentLengths(4, 4, 3 if function else 0, 2)
    x = random_states(1, 10)
    alone = attention(x, identity, SegmentPass(lengths, keep=True))
    padded = torch.cat([x, random_states(1, 9)], dim=1)
    beside = attention(padded, identity, SegmentPass(lengths, torch.tensor([10]), keep=True))
    torch.testing.assert_close(beside.out[:, :10], alone.out, **EXACT)
    assert_same_memory(beside.memory, alone.memory)
    if alone.loss is not None:
        torch.testing.assert_close(beside.loss, alone.loss, **EXACT)
    wrong = attention(padded, identity, SegmentPass(lengths, torch.tensor([11]), keep=True))
    assert not torch.allclose(wrong.memory.recent, alone.memory.recent)


@pytest.mark.parametrize("lengths", [(4, 4, 3, 2), (4, 6, 3, 4), (3, 0, 9, 1), (6, 9, 2, 3)])
@pytest.mark.parametrize("function", ["conv", "dilated-conv"])
@pytest.mark.parametrize(
    ("loss", "naive_loss"),
    [("reconstruction", naive_reconstruction), ("auto-encoding", naive_auto_encoding)],
)
@torch.no_grad()
def test_each_loss_equals_a_loop(loss, naive_loss, function, lengths):
    """Blocks that are not full at first, sentences that end within a segment, a norm before."""
    lengths = SegmentLengths(*lengths)
    attention = build_attention(compression=function, rate=lengths.rate, loss=loss)
    norm = torch.nn.LayerNorm(DIM).double()
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    sizes = [19, 10, 4]
    x = random_states(len(sizes), max(sizes))
    found = attention(x, norm, SegmentPass(lengths, torch.tensor(sizes), keep=True)).loss
    expected = 0.0
    for states, size in zip(x, sizes, strict=True):
        naive = NaiveAttention(attention, lengths, norm)
        naive.run(states[:size])
        expected += naive_loss(naive)
    assert expected > 0
    torch.testing.assert_close(found.item(), expected, **EXACT)


@pytest.mark.parametrize("loss", ["reconstruction", "auto-encoding"])
@pytest.mark.parametrize("keep", [False, True])
def test_the_loss_of_a_padded_batch_is_the_sum_of_its_sentences(loss, keep):
    attention = build_attention(compression="conv", loss=loss)
    lengths, sizes = SegmentLengths(4, 4, 3, 2), [19, 10, 4, 1, 13]
    x = random_states(len(sizes), max(sizes))
    how = SegmentPass(lengths, torch.tensor(sizes), keep=keep)
    together = attention(x, identity, how).loss
    single = [
        attention(x[b : b + 1, :size], identity, SegmentPass(lengths, keep=keep)).loss
        for b, size in enumerate(sizes)
    ]
    torch.testing.assert_close(together, sum(s for s in single if s is not None), **EXACT)


@pytest.mark.parametrize("part", ["content_bias", "position_bias", "r_proj.weight"])
def test_each_term_counts(part):
    """Negative control of the comparison with the plain loops: without a term it would fail."""
    attention, lengths = build_attention(), SegmentLengths(4, 4)
    x = random_states(1, 7)
    expected = NaiveAttention(attention, lengths).run(x[0])
    with torch.no_grad():
        attention.positions.get_parameter(part).zero_()
    found = attention(x, identity, SegmentPass(lengths)).out[0]
    assert not torch.allclose(found, expected)


@pytest.mark.parametrize("clamp_len", [1, 3])
def test_distances_beyond_the_clamp_count_as_the_clamp(clamp_len):
    near, far = build_attention(clamp_len=clamp_len), build_attention()
    table = near.positions(9)
    torch.testing.assert_close(table[:, -1 - clamp_len :], far.positions(clamp_len + 1), **EXACT)
    assert torch.equal(table[:, 0], table[:, -1 - clamp_len])


def test_one_segment_is_attention_without_memory():
    """A target within a segment: whatever the memories' lengths, plain relative attention."""
    plain, rich = build_attention(), build_attention(compression="conv")
    rich.load_state_dict(plain.state_dict(), strict=False)
    x = random_states(2, 9)
    expected = plain(x, identity, SegmentPass(SegmentLengths(50, 0))).out
    for lengths in (SegmentLengths(9, 0), SegmentLengths(10, 3, 2, 2), SegmentLengths(20, 50)):
        torch.testing.assert_close(rich(x, identity, SegmentPass(lengths)).out, expected, **EXACT)


def test_a_memory_of_the_whole_past_forgets_nothing():
    """Segments and a long memory together see all: equal to one long segment."""
    attention, x = build_attention(), random_states(2, 17)
    whole = attention(x, identity, SegmentPass(SegmentLengths(17, 0))).out
    pieces = attention(x, identity, SegmentPass(SegmentLengths(4, 16))).out
    torch.testing.assert_close(pieces, whole, **EXACT)
    short = attention(x, identity, SegmentPass(SegmentLengths(4, 8))).out
    assert not torch.allclose(short, whole)


def test_compression_at_rate_one_with_room_loses_nothing():
    """Pooling groups of one is the identity: memory and compressed memory act as one memory."""
    plain = build_attention()
    x = random_states(2, 18)
    expected = plain(x, identity, SegmentPass(SegmentLengths(4, 16))).out
    for function in ("mean-pool", "max-pool", "most-used"):
        attention = build_attention(compression=function, rate=1)
        attention.load_state_dict(plain.state_dict())
        found = attention(x, identity, SegmentPass(SegmentLengths(4, 4, 12))).out
        torch.testing.assert_close(found, expected, **EXACT)


def test_memory_zero_leaves_the_segments_alone():
    attention, x = build_attention(), random_states(2, 10)
    found = attention(x, identity, SegmentPass(SegmentLengths(4, 0))).out
    pieces = [
        attention(piece, identity, SegmentPass(SegmentLengths(4, 0))).out
        for piece in x.split(4, dim=1)
    ]
    torch.testing.assert_close(found, torch.cat(pieces, dim=1), **EXACT)


def test_same_length_shows_every_query_as_many_keys():
    attention, lengths = build_attention(), SegmentLengths(4, 3, same_length=True)
    x = random_states(1, 12).requires_grad_()
    carried = LayerMemory.empty(x)
    out = attention.at_once(x, identity, SegmentPass(lengths), carried).out
    window = attention(x, identity, SegmentPass(SegmentLengths(12, 3, same_length=True))).out
    torch.testing.assert_close(out, window, **EXACT)
    # the same by hand: positions t - 3 .. t alone
    for t in range(12):
        piece = x[:, max(0, t - 3) : t + 1]
        alone = attention(piece, identity, SegmentPass(SegmentLengths(9, 0))).out
        torch.testing.assert_close(out[:, t], alone[:, -1], **EXACT)


def test_gradients_stop_at_the_memory():
    """A later segment's output depends on an earlier state, but teaches it nothing."""
    attention, lengths = build_attention(), SegmentLengths(4, 4)
    x = random_states(1, 8).requires_grad_()
    out = attention(x, identity, SegmentPass(lengths)).out
    (grad,) = torch.autograd.grad(out[:, 4:].sum(), x, retain_graph=True)
    assert grad[:, :4].abs().max() == 0 and grad[:, 4:].abs().min() > 0
    (grad,) = torch.autograd.grad(out[:, :4].sum(), x)
    assert grad[:, 4:].abs().max() == 0 and grad[:, :4].abs().max() > 0
    changed = x.detach().clone()
    changed[:, 0] += 1.0
    assert not torch.allclose(
        attention(changed, identity, SegmentPass(lengths)).out[:, 4:], out[:, 4:]
    )


@pytest.mark.parametrize("loss", ["reconstruction", "auto-encoding"])
def test_each_loss_teaches_the_compression_alone(loss):
    attention = build_attention(compression="conv", loss=loss)
    norm = torch.nn.LayerNorm(DIM).double()
    x = random_states(2, 14).requires_grad_()
    result = attention(x, norm, SegmentPass(SegmentLengths(4, 4, 3, 2)))
    leaves = {**dict(attention.named_parameters()), "x": x, **dict(norm.named_parameters())}
    taught = {
        name
        for name, leaf in leaves.items()
        if torch.autograd.grad(result.loss, leaf, retain_graph=True, allow_unused=True)[0]
        is not None
    }
    own = {name for name in leaves if name.startswith(("compression.", "rebuild."))}
    assert taught == own
    # ... and the main loss teaches it nothing
    for name in own:
        grads = torch.autograd.grad(
            result.out.sum(), leaves[name], retain_graph=True, allow_unused=True
        )
        assert grads == (None,)


def test_bptt_teaches_the_compression_from_the_main_loss_and_still_stops_at_states():
    attention = build_attention(compression="conv", loss="bptt")
    x = random_states(1, 12).requires_grad_()
    result = attention(x, identity, SegmentPass(SegmentLengths(4, 4, 3, 2)))
    assert result.loss is None
    last = result.out[:, 8:].sum()
    weight, states = torch.autograd.grad(last, [attention.compression.conv.weight, x])
    assert weight.abs().max() > 0
    assert states[:, :8].abs().max() == 0


def test_memories_of_other_lengths_than_in_training_need_no_other_parameters():
    attention, x = build_attention(compression="conv"), random_states(2, 30)
    short = attention(x, identity, SegmentPass(SegmentLengths(4, 4, 2, 2)))
    lengths = SegmentLengths(4, 12, 6, 2)
    longer = attention(x, identity, SegmentPass(lengths))
    assert not torch.allclose(short.out, longer.out)
    carried = attention(x, identity, SegmentPass(lengths, keep=True)).memory
    cut = attention(x, identity, SegmentPass(replace(lengths, memory=5, compressed=1)), carried)
    assert cut.out.isfinite().all()


@pytest.mark.parametrize("function", ["mean-pool", "conv"])
def test_half_precision_stays_close(function):
    attention = build_attention(compression=function)
    x, how = 0.5 * random_states(2, 14), SegmentPass(SegmentLengths(4, 4, 3, 2))
    expected = attention(x, identity, how).out
    found = attention.to(torch.bfloat16)(x.to(torch.bfloat16), identity, how).out
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=0.2, atol=0.2)


class OwnNorm(torch.nn.Module):
    """A norm that learns from the segment alone: a memory's states, which have no gradient, are
    constants to it.
    """

    def __init__(self, norm: torch.nn.LayerNorm):
        super().__init__()
        self.norm = norm

    def forward(self, states: Tensor) -> Tensor:
        y = self.norm(states)
        return y if states.requires_grad else y.detach()


@pytest.mark.parametrize("form", ["loop", "at_once"])
@pytest.mark.parametrize("compression", [None, "mean-pool"])
def test_the_norm_learns_nothing_from_the_memory(form: str, compression: str | None) -> None:
    """The stop-gradient comes after the norm, as `docs/decoders.md` says."""
    attention, lengths = build_attention(compression=compression), SegmentLengths(4, 5, 3, 2)
    norm = torch.nn.LayerNorm(DIM).double()
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    memory = LayerMemory.empty(random_states(2, 1))._replace(recent=random_states(2, 5))
    x, how = random_states(2, 14).requires_grad_(), SegmentPass(lengths)

    def taught(kind: torch.nn.Module) -> list[Tensor]:
        return list(gradients(attention, kind, x, form, how, memory)[1].values())

    found, expected = taught(norm), taught(OwnNorm(norm))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    attention.memory_teaches_norm = True
    before = taught(norm)
    weight, bias = (grad.abs().max() for grad in (before[-2] - found[-2], before[-1] - found[-1]))
    assert weight > 1e-3 and bias > 1e-3
    for one, other in zip(before[:-2], found[:-2], strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_both_places_of_the_stop_gradient_are_the_same_at_once_and_in_turn() -> None:
    attention, lengths = build_attention(compression="mean-pool"), SegmentLengths(4, 5, 3, 2)
    attention.memory_teaches_norm = True
    norm = torch.nn.LayerNorm(DIM).double()
    memory = LayerMemory.empty(random_states(2, 1))._replace(recent=random_states(2, 5))
    x, how = random_states(2, 14).requires_grad_(), SegmentPass(lengths)
    turns, whole = (
        gradients(attention, norm, x, form, how, memory) for form in ("loop", "at_once")
    )
    for name, grad in turns[1].items():
        torch.testing.assert_close(whole[1][name], grad, **EXACT)
