"""Which positions a compressed entry stands for: those, and no others, change it."""

import pytest
import torch

from fairseq_memtx.explain.spans import compressed_spans
from fairseq_memtx.modules.segment_cache import LayerCache
from fairseq_memtx.modules.segment_layer import identity
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentLengths
from tests.fairseq_memtx.modules.segment_oracle import build_attention


def test_an_example_by_hand() -> None:
    spans = list(compressed_spans(SegmentLengths(4, 4, 3, 2), 14))
    assert spans[:8] == [[]] * 8
    assert spans[8:12] == [[(0, 2), (2, 4)]] * 4
    assert spans[12] == [(2, 4), (4, 6), (6, 8)]
    carried = list(compressed_spans(SegmentLengths(4, 4, 3, 2), 5, 4, 2))
    assert carried == [[None, None]] * 4 + [[None, (-4, -2), (-2, 0)]]


LENGTHS = [(4, 4, 3, 2), (4, 3, 5, 2), (3, 5, 2, 3), (2, 0, 4, 1), (6, 4, 4, 2)]


def compressed_keys(
    x: torch.Tensor, lengths: SegmentLengths, function: str, carried: int = 0, older: int = 0
) -> torch.Tensor:
    """Keys `(t, C)` of the compressed memory after the positions x `(T, C)`.

    The first `older` of them are a compressed memory from the text before, the next `carried` a
    memory.
    """
    attention = build_attention(compression=function, rate=lengths.rate)
    own = older + carried
    memory = LayerMemory(x[None, older:own], x[None, :older])
    cache = LayerCache(attention, identity, lengths, memory)
    for row in x[own:]:
        cache.attend_position(row[None], None, False)
    return cache.keys.filled()[: cache.num_compressed, 0].flatten(1)


@pytest.mark.parametrize("sizes", LENGTHS)
@pytest.mark.parametrize("function", ["conv", "mean-pool"])
@pytest.mark.parametrize("total, carried, older", [(15, 0, 0), (5, 3, 2), (1, 2, 1), (9, 2, 0)])
@torch.no_grad()
def test_an_entry_changes_with_the_positions_of_its_span_alone(
    sizes: tuple[int, ...], function: str, total: int, carried: int, older: int
) -> None:
    lengths = SegmentLengths(*sizes)
    carried = min(carried, lengths.memory)
    x = torch.randn(older + carried + total, 8, dtype=torch.float64)
    before = compressed_keys(x, lengths, function, carried, older)
    *_, spans = compressed_spans(lengths, total, carried, older)
    assert len(spans) == len(before)
    for position in range(-carried, total):
        other = x.clone()
        other[older + carried + position] += 1.0
        keys = compressed_keys(other, lengths, function, carried, older)
        changed = (keys != before).any(dim=1).tolist()
        assert changed == [span is not None and span[0] <= position < span[1] for span in spans]


@pytest.mark.parametrize("sizes", [(4, 4, 3, 2), (3, 6, 4, 3)])
@torch.no_grad()
def test_of_those_most_used_each_is_somewhere_in_its_block(sizes: tuple[int, ...]) -> None:
    lengths, total = SegmentLengths(*sizes), 15
    x = torch.randn(total, 8, dtype=torch.float64)
    *_, spans = compressed_spans(lengths, total, by_group=False)
    keys = compressed_keys(x, lengths, "most-used")
    attention = build_attention(compression="most-used", rate=lengths.rate)
    each = attention.k_proj(x)
    assert len(keys) == len(spans) > 0
    for key, (first, end) in zip(keys, spans, strict=True):
        near = [p for p in range(total) if torch.allclose(each[p], key)]
        assert len(near) == 1
        assert first <= near[0] < end
