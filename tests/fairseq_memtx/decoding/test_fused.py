"""Parts of the fused step; as a whole it is tested by the searches of tests/.../generation."""

import pytest
import torch

from fairseq_memtx.decoding.fused import log_softmax_in_place


@pytest.mark.parametrize("shape", [(1, 2), (5, 1493), (40, 6008), (160, 4099)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_log_softmax_in_place_is_log_softmax(shape, dtype):
    logits = 9 * torch.randn(shape, dtype=dtype)
    logits[:, 1] = -torch.inf
    want = logits.log_softmax(-1, dtype=torch.float32)
    assert torch.equal(log_softmax_in_place(logits), want)


def test_it_takes_no_memory_of_its_own():
    logits = torch.randn(2, 9)
    assert log_softmax_in_place(logits).data_ptr() == logits.data_ptr()
