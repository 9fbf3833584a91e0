"""Attention under autocast: float32 inside, everything else as torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_memtx.compute.attention import plain_attention
from fairseq_memtx.compute.functions import in_place_of_torchs


def inputs(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, 5, 4).to(dtype).requires_grad_() for _ in range(3)]


def mask(kind: str) -> Tensor | None:
    hidden = torch.zeros(2, 1, 1, 5, dtype=torch.bool)
    hidden[1, ..., 3:] = True
    floats = torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))
    return {"none": None, "bool": ~hidden, "float": floats, "bfloat16": floats.bfloat16()}[kind]


@pytest.mark.parametrize("kind", ["none", "bool", "float", "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_it_is_the_float32_result_rounded_once(
    dtype: torch.dtype, kind: str
) -> None:
    given = inputs(dtype)
    with in_place_of_torchs(None), torch.autocast("cpu", torch.bfloat16):
        found = F.scaled_dot_product_attention(*given, attn_mask=mask(kind))
    assert found.dtype == torch.bfloat16
    wide = [x.detach().double().requires_grad_() for x in given]
    wanted_mask = mask(kind)
    if wanted_mask is not None and wanted_mask.is_floating_point():
        wanted_mask = wanted_mask.double()
    wanted = plain_attention(*wide, attn_mask=wanted_mask)
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-6)
    found.float().sum().backward()
    wanted.sum().backward()
    for x, y in zip(given, wide, strict=True):
        assert x.grad is not None and x.grad.dtype == dtype and y.grad is not None
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=2**-7, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_without_autocast_it_is_torchs(dtype: torch.dtype) -> None:
    given = inputs(dtype)
    with in_place_of_torchs(None):
        found = F.scaled_dot_product_attention(*given, is_causal=True)
    assert torch.equal(found, plain_attention(*given, is_causal=True))


def test_float64_under_autocast_is_left_alone() -> None:
    given = inputs(torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = plain_attention(*given)
        with in_place_of_torchs(None):
            assert torch.equal(F.scaled_dot_product_attention(*given), wanted)
