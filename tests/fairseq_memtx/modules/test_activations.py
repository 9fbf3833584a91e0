"""The activation functions are fairseq's, by its names."""

import pytest
import torch
from fairseq import utils

from fairseq_memtx.modules.activations import ACTIVATIONS, name_of


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_they_are_fairseq_s(name: str) -> None:
    x = torch.linspace(-4, 4, 99)
    stock = utils.get_activation_fn(name)
    torch.testing.assert_close(ACTIVATIONS[name](x), stock(x), rtol=0, atol=0)
    assert ACTIVATIONS[str(name_of(stock))](x).equal(stock(x))
    assert ACTIVATIONS[str(name_of(ACTIVATIONS[name]))](x).equal(stock(x))


def test_a_function_of_another_place_has_no_name() -> None:
    def gelu(x: torch.Tensor) -> torch.Tensor:
        return -x

    assert name_of(gelu) is None
    assert name_of(torch.sigmoid) is None
