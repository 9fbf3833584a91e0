"""Which positions the entries of a compressed memory stand for, by the arithmetic of Algorithm 1.

Rae et al. 2019 (arXiv 1911.05507): when a segment ends, what the memory has no room for is
compressed, group by group; `modules.segment_cache` does it. Here only places are counted.
"""

from collections.abc import Iterator

from ..modules.segment_memory import SegmentLengths

#: The first position that a compressed entry stands for, and the one after its last; None for an
#: entry from before the target.
Span = tuple[int, int] | None


def compressed_spans(
    lengths: SegmentLengths,
    num_positions: int,
    carried: int = 0,
    carried_compressed: int = 0,
    by_group: bool = True,
) -> Iterator[list[Span]]:
    """For each position of a target the spans of the compressed memory, oldest first.

    Args:
        lengths: of the layer's segments and memories.
        num_positions: of the target.
        carried, carried_compressed: recent and compressed entries from the text before it.
        by_group: an entry stands for a group of as many states as the rate says; else each of a
            block stands for all of it, as where some of its states are kept.
    """
    spans: list[Span] = [None] * min(carried_compressed, lengths.compressed)
    recent = min(carried, lengths.memory)
    for position in range(num_positions):
        if position > 0 and position % lengths.segment == 0:
            total = recent + lengths.segment
            gone, first = max(0, total - lengths.memory), position - total
            if lengths.compressed > 0:
                spans += _of_block(first, gone, lengths, by_group)
                spans = spans[-lengths.compressed :]
            recent = total - gone
        yield list(spans)


def _of_block(first: int, gone: int, lengths: SegmentLengths, by_group: bool) -> Iterator[Span]:
    """The spans of what is made of the `gone` states from `first` on."""
    if not by_group:
        for _ in range(min(gone, lengths.per_segment)):
            yield first, first + gone
        return
    begin = first + gone - lengths.segment  # a block is as long as a segment, its end filled
    for start in range(begin, first + gone, lengths.rate):
        if start + lengths.rate > first:
            yield max(start, first), start + lengths.rate
