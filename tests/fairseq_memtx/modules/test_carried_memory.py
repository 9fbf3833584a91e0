"""Feedback memories carried from one piece of a text to the next."""

from dataclasses import replace

import pytest
import torch

from fairseq_memtx.engine import ENGINES
from fairseq_memtx.modules.carried_memory import CarriedMemory
from tests.fairseq_memtx.engine.stacks import Case, Stack

EXACT = {"rtol": 1e-10, "atol": 1e-11}
CASES = {
    "plain": Case(),
    "pre-norm, per-layer": Case(pre_norm=True, memory={"shared_kv": False}),
    "span": Case(memory={"span": 4}),
    "relative positions": Case(memory={"num_distances": 3}),
    "span, relative positions": Case(memory={"span": 5, "num_distances": 9}),
    "routed channels": Case(memory={"mixture": "routed", "channels": 2}, layers=3, pre_norm=True),
    "layer dropped": Case(layers=3, dropped=frozenset({1})),
}
LENGTH = 13


def stack_of(name: str) -> Stack:
    return Stack(replace(CASES[name], length=LENGTH, cross=False, padding=None))


def run(engine: str, stack: Stack, part: slice, past: CarriedMemory | None):
    recurrence = stack.recurrence()
    mask = None if recurrence.padding_mask is None else recurrence.padding_mask[:, part]
    recurrence = replace(recurrence, inputs=stack.inputs[part], padding_mask=mask, past=past)
    states = ENGINES[engine](recurrence).states
    return states, mask


@pytest.mark.parametrize("engine", ["reference", "manual"])
@pytest.mark.parametrize("name", CASES)
def test_a_text_in_pieces_equals_the_text_in_one(name, engine):
    stack, past, carried = stack_of(name), None, stack_of(name).memory.span or LENGTH
    whole, _ = run(engine, stack, slice(None), None)
    for part in (slice(0, 3), slice(3, 4), slice(4, 11), slice(11, LENGTH)):
        states, mask = run(engine, stack, part, past)
        for got, want in zip(states, whole, strict=True):
            torch.testing.assert_close(got, want[part], **EXACT)
        past = stack.memory.carry(states, mask, past, carried)
        assert not past.keys.requires_grad
        assert len(past) == min(part.stop, carried)


@pytest.mark.parametrize("engine", ["reference", "manual"])
def test_what_is_not_carried_is_not_read(engine):
    """As many as are carried count as a span: here the same only because it is that long."""
    stack = stack_of("span")
    whole, _ = run(engine, stack, slice(None), None)
    first, _ = run(engine, stack, slice(0, 8), None)
    for size, same in ((4, True), (3, False)):
        past = stack.memory.carry(first, None, None, size)
        states, _ = run(engine, stack, slice(8, LENGTH), past)
        assert torch.allclose(states[-1], whole[-1][8:], **EXACT) == same


@pytest.mark.parametrize("engine", ["reference", "manual"])
@pytest.mark.parametrize("name", ["plain", "span, relative positions"])
def test_a_row_that_begins_anew_reads_nothing_carried(name, engine):
    stack = stack_of(name)
    first, _ = run(engine, stack, slice(0, 6), None)
    past = stack.memory.carry(first, None, None, 6)
    anew = past.begin_anew(torch.tensor([False, True, False]))
    rest = slice(6, LENGTH)
    kept, alone, mixed = (run(engine, stack, rest, p)[0][-1] for p in (past, None, anew))
    torch.testing.assert_close(mixed[:, [0, 2]], kept[:, [0, 2]], **EXACT)
    torch.testing.assert_close(mixed[:, 1], alone[:, 1], **EXACT)
    assert not torch.allclose(kept[:, 1], alone[:, 1])


def test_padding_stays_hidden_when_it_is_carried():
    """Sentences of 13, 11 and 9 words, in pieces of which the first ends with padding."""
    stack = Stack(Case(length=LENGTH, cross=False, padding="left"))
    whole, mask = run("reference", stack, slice(None), None)
    first, first_mask = run("reference", stack, slice(0, 5), None)
    past = stack.memory.carry(first, first_mask, None, 5)
    assert past.hidden.tolist() == mask[:, :5].tolist()
    states, _ = run("reference", stack, slice(5, LENGTH), past)
    torch.testing.assert_close(states[-1], whole[-1][5:], **EXACT)


def test_rows_follow_an_order_and_bytes_are_counted():
    keys = torch.randn(2, 3, 2, 4, 5)
    memory = CarriedMemory(keys, -keys, torch.arange(12).view(3, 4) % 2 == 0)
    turned = memory.reorder(torch.tensor([2, 2, 0, 1]))
    torch.testing.assert_close(turned.values, -keys[:, [2, 2, 0, 1]])
    assert turned.hidden.tolist() == memory.hidden[[2, 2, 0, 1]].tolist()
    assert memory.size_bytes() == 2 * 240 * 4 + 12
    assert len(memory.last(3)) == 3 and len(memory.last(9)) == 4
    both = CarriedMemory(keys, keys).followed_by(memory)
    assert both.hidden[:, :4].any().item() is False
    assert both.hidden[:, 4:].tolist() == memory.hidden.tolist()
