"""What a checkpoint holds of a stream's memory, whatever the code calls it."""

import torch

from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentMemory
from fairseq_memtx.modules.stream_memory import StreamMemory


def test_a_checkpoint_holds_flags_of_what_exists() -> None:
    """As those that were written before masks were True where nothing is to be read."""
    hidden = torch.tensor([[True, False, False]])
    layer = LayerMemory(torch.randn(1, 3, 2), torch.randn(1, 2, 2), recent_hidden=hidden)
    stream = StreamMemory()
    stream.write("reader", 0, SegmentMemory([layer]))
    state = stream.state(1)
    assert state is not None
    recent, compressed, exists, none, usage = state["layers"][0]
    assert exists.tolist() == [[False, True, True]]
    assert none is None and usage is None
    back = StreamMemory.restored(state).read("another", 1)
    assert isinstance(back, SegmentMemory)
    assert torch.equal(back.layers[0].recent_hidden, hidden)
    assert back.layers[0].compressed_hidden is None
    assert torch.equal(back.layers[0].recent, recent) and torch.equal(layer.compressed, compressed)
