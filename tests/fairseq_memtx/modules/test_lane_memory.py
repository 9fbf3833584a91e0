"""Memories of documents in lanes: who finds which, rows put together and taken apart."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fairseq_memtx.modules.carried_memory import CarriedMemory
from fairseq_memtx.modules.lane_memory import (
    LaneColumns,
    LaneMemories,
    LaneRow,
    join_memories,
)
from fairseq_memtx.modules.pair_memory import PairMemory, source_side, target_side
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentMemory
from fairseq_memtx.modules.stream_memory import Memory


def carried(sizes: Sequence[int], start: float = 0.0) -> CarriedMemory:
    """Rows of so many entries, each entry filled with a number of its own."""
    rows = [_numbers(size, start + 100 * row) for row, size in enumerate(sizes)]
    # (P,) -> (G, 1, H, P, D)
    split = [CarriedMemory(x.expand(2, 1, 3, -1, 4), -x.expand(2, 1, 3, -1, 4)) for x in rows]
    return CarriedMemory.join(split)


def segments(sizes: Sequence[int], start: float = 0.0) -> SegmentMemory:
    rows = [_numbers(size, start + 100 * row) for row, size in enumerate(sizes)]
    layers = [
        [LayerMemory(x.expand(1, -1, 4), x[: i + 1].expand(1, -1, 4), usage=x[None, :, 0])
         for i in range(2)]
        for x in rows
    ]  # fmt: skip
    return SegmentMemory.join([SegmentMemory(each) for each in layers])


def both(sizes: Sequence[int], start: float = 0.0) -> PairMemory:
    return PairMemory(segments(sizes, start), carried(sizes, start + 0.5))


def _numbers(size: int, start: float) -> Tensor:
    return torch.arange(1, size + 1).double()[:, None] + start


def values_of(memory: Memory | None) -> list[list[float]]:
    """The numbers that each row may read, oldest first."""
    if memory is None:
        return []
    if isinstance(memory, PairMemory):
        target = values_of(memory.target)
        source = values_of(memory.source)
        assert target == [[number + 0.5 for number in row] for row in source]
        return source
    if isinstance(memory, CarriedMemory):
        entries, hidden = memory.keys[0, :, 0, :, 0], memory.hidden_mask()
    else:
        layer = memory.layers[0]
        entries, hidden = layer.recent[..., 0], layer.recent_hidden
        hidden = torch.zeros(entries.shape, dtype=torch.bool) if hidden is None else hidden
    return [row[~mask].tolist() for row, mask in zip(entries, hidden, strict=True)]


KINDS = pytest.mark.parametrize("make", [carried, segments, both])


@KINDS
def test_rows_of_any_length_are_put_together_and_taken_apart(make) -> None:
    memory = make([2, 0, 3])
    assert values_of(memory) == [[1, 2], [], [201, 202, 203]]
    rows = memory.split()
    assert [values_of(row)[0] for row in rows] == values_of(memory)
    again = join_memories([rows[2], None, rows[0]])
    assert values_of(again) == [[201, 202, 203], [], [1, 2]]
    assert join_memories([None, None]) is None


def test_all_of_a_layer_comes_back() -> None:
    memory = segments([2, 4])
    again = SegmentMemory.join(memory.split())
    for one, other in zip(memory.layers, again.layers, strict=True):
        for x, y in zip(one, other, strict=True):
            assert (x is None and y is None) or torch.equal(x, y)
    assert again.layers[0].usage.tolist() == [[0, 0, 1, 2], [101, 102, 103, 104]]
    assert again.layers[1].compressed.shape == (2, 2, 4)


def test_padding_is_left_out_of_what_is_carried() -> None:
    keys = torch.arange(8.0).view(1, 2, 1, 4, 1)
    hidden = torch.tensor([[False, False, True, True], [True, False, False, False]])
    last = CarriedMemory(keys, keys, hidden).last_readable(2)
    assert last.hidden is None
    assert last.keys.flatten().tolist() == [0, 1, 6, 7]
    assert values_of(CarriedMemory(keys, keys, hidden).last_readable(9)) == [[0, 1], [5, 6, 7]]


@KINDS
def test_a_sentence_finds_what_the_one_before_it_left_and_nothing_else(make) -> None:
    memories = LaneMemories()
    first = [LaneRow(0, 10, -1), LaneRow(1, 20, -1)]
    assert memories.read("m", first) is None
    memories.write("m", first, make([1, 2]))
    second = [LaneRow(1, 21, 20), LaneRow(0, 11, 10)]
    assert values_of(memories.read("m", second)) == [[101, 102], [1]]
    # another document in the lane, a sentence that was left out, another reader
    others = [LaneRow(1, 21, 20), LaneRow(0, 30, -1)]
    assert values_of(memories.read("m", others)) == [[101, 102], []]
    assert memories.read("m", [LaneRow(0, 13, 12), LaneRow(1, 11, 10)]) is None
    assert memories.read("n", second) is None


@KINDS
def test_a_batch_that_comes_again_finds_what_it_found(make) -> None:
    memories = LaneMemories()
    memories.write("m", [LaneRow(0, 1, -1)], make([1]))
    for start in (10.0, 20.0):
        assert values_of(memories.read("m", [LaneRow(0, 2, 1)])) == [[1]]
        memories.write("m", [LaneRow(0, 2, 1)], make([2], start))
    assert values_of(memories.read("m", [LaneRow(0, 3, 2)])) == [[21, 22]]


@KINDS
def test_a_sentence_may_leave_nothing(make) -> None:
    memories = LaneMemories()
    memories.keep("m", LaneRow(0, 1, -1))
    assert memories.read("m", [LaneRow(0, 2, 1)]) is None
    memories.write("m", [LaneRow(0, 2, 1)], make([2]))
    memories.keep("m", LaneRow(0, 3, 2))
    memories.keep("m", LaneRow(0, 3, 2))
    assert values_of(memories.read("m", [LaneRow(0, 4, 3)])) == [[1, 2]]


@KINDS
def test_gradients_end_in_what_is_kept(make) -> None:
    memories, memory = LaneMemories(), make([2])
    entries_of(memory).requires_grad_()
    memories.write("m", [LaneRow(0, 1, -1)], memory)
    kept = memories.read("m", [LaneRow(0, 2, 1)])
    assert not entries_of(kept).requires_grad


def entries_of(memory: Memory) -> Tensor:
    memory = memory.source if isinstance(memory, PairMemory) else memory
    return memory.keys if isinstance(memory, CarriedMemory) else memory.layers[0].recent


@KINDS
def test_gradients_go_back_over_the_columns_of_a_batch_and_end_there(make) -> None:
    memories = LaneMemories()
    memories.write("m", [LaneRow(0, 1, -1), LaneRow(1, 5, -1)], make([1, 2]))
    columns = [[LaneRow(1, 6, 5), LaneRow(0, 2, 1)], [LaneRow(0, 3, 2)]]
    for _ in range(2):  # a batch that comes again finds what it found
        first, second = LaneColumns(memories, columns).batches()
        given = first.read("m", torch.zeros(()))
        assert values_of(given) == [[101, 102], [1]]
        after = make([3, 2], 1000.0)
        entries_of(after).requires_grad_()
        first.write("m", after)
        between = second.read("m", torch.zeros(()))
        assert values_of(between) == [[1101, 1102]]
        entries_of(between).sum().backward()
        grad = entries_of(after).grad
        assert grad is not None and set(grad.unique().tolist()) == {0.0, 1.0}
        second.write("m", make([2], 2000.0))
        kept = memories.read("m", [LaneRow(0, 4, 3), LaneRow(1, 7, 6)])
        assert values_of(kept) == [[2001, 2002], [1001, 1002, 1003]]
        assert not entries_of(kept).requires_grad


@KINDS
def test_the_state_brings_all_lanes_back(make) -> None:
    memories = LaneMemories()
    assert memories.state() is None
    memories.write("m", [LaneRow(3, 1, -1), LaneRow(1, 5, -1)], make([2, 1]))
    state = memories.state()
    for _ in range(2):  # a training may be saved before it has gone on
        restored = LaneMemories.restored(state)
        rows = [LaneRow(1, 6, 5), LaneRow(3, 2, 1), LaneRow(0, 8, 7)]
        assert values_of(restored.read("other", rows)) == [[101], [1, 2], []]
        state = LaneMemories.restored(state).state()
    memories.read("n", [LaneRow(0, 1, -1)])
    assert memories.state() is None  # of an ensemble
    assert memories.size_bytes() > 0


def test_each_side_of_a_model_finds_its_own_memory() -> None:
    pair, alone = both([2]), carried([1])
    assert source_side(pair) is pair.source and target_side(pair) is pair.target
    assert source_side(alone) is None and target_side(alone) is alone
    assert source_side(None) is None and target_side(None) is None
    assert pair.size_bytes() == pair.source.size_bytes() + pair.target.size_bytes()
