"""Joined linear maps against the maps themselves."""

import pytest
import torch
from torch import nn

from fairseq_memtx.decoding.linear import FrozenLinear, select_outputs
from fairseq_memtx.modules.int8 import Int8Linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5])
def test_maps_of_one_input_stand_side_by_side(dtype, bias, rows):
    maps = [nn.Linear(6, 4, bias=bias, dtype=dtype), nn.Linear(6, 3, dtype=dtype)]
    x, other = torch.randn(rows, 6, dtype=dtype), torch.randn(rows, 7, dtype=dtype)
    with torch.no_grad():
        want = torch.cat([0.5 * maps[0](x), maps[1](x)], dim=1)
        joined = FrozenLinear(maps, scale=0.5)
        torch.testing.assert_close(joined(x), want)
        torch.testing.assert_close(joined.add(x, other), want + other)
        torch.testing.assert_close(FrozenLinear(maps, scale=0.5, relu=True)(x), want.relu())
    assert joined.packed == (dtype == torch.float32)


def test_maps_in_eight_bits_stay_so():
    maps = [Int8Linear.of(nn.Linear(16, 4)), Int8Linear.of(nn.Linear(16, 3, bias=False))]
    x = torch.randn(5, 16)
    want = torch.cat([0.5 * maps[0](x), maps[1](x)], dim=1)
    joined = FrozenLinear(maps, scale=0.5)
    torch.testing.assert_close(joined(x), want)
    assert joined.int8 is not None and joined.int8.weight_int8.dtype == torch.int8


def test_what_is_selected_for_a_batch_is_prepared_quickly():
    rows = torch.tensor([5, 0, 3])
    layer, x = Int8Linear.of(nn.Linear(16, 8)), torch.randn(5, 16)
    selected = FrozenLinear([select_outputs(layer, rows)])
    assert selected.int8 is not None and selected.int8.brief
    torch.testing.assert_close(selected(x), layer(x)[:, rows])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["weight", "bias"])
def test_a_relu_hides_no_weight_that_is_no_number(where: str, value: float) -> None:
    """oneDNN's own makes 0 of NaN."""
    layer = torch.nn.Linear(8, 4)
    getattr(layer, where).data.view(-1)[2] = value
    with pytest.raises(FloatingPointError, match="diverged"):
        FrozenLinear([layer], relu=True)
