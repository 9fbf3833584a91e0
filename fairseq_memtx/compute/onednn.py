"""oneDNN's products in float32, which torch uses for little and has no public name for.

torch hands its float32 products to MKL (on x86). oneDNN has other kernels: on processors with
AVX-512 that are not Intel's it is 2 to 3 times as fast, on others about the same. A weight can also
be packed into oneDNN's own layout, which pays where it is used often.

Size legend: N rows, I inputs, O outputs of a linear map.
"""

import logging
from functools import cache

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def pack(weight: Tensor) -> Tensor:
    """`(O, I)`, of any strides, in oneDNN's layout; only `packed_linear` can read it."""
    return torch.ops.mkldnn._reorder_linear_weight.default(weight.detach())


def packed_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x W^T + b` with a packed or a plain weight."""
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], None)


def packed_linear_add(x: Tensor, weight: Tensor, other: Tensor) -> Tensor:
    """`x W^T + other` with a packed weight."""
    return torch.ops.mkldnn._linear_pointwise.binary(x, other, weight, None, "add")


def usable(x: Tensor) -> bool:
    """Whether products with `x` can be oneDNN's: on a CPU, in float32, where torch has them."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and packing_works()


@cache
def packing_works() -> bool:
    """Try the packed products, which are private to torch and may change, against the plain one."""
    weight, bias = torch.arange(12.0).view(3, 4), torch.arange(3.0)
    x = torch.arange(8.0).view(2, 4)
    try:
        with torch.no_grad():
            got = packed_linear(x, pack(weight), bias)
            added = packed_linear_add(got, pack(weight.t()), x)
            plain = packed_linear(x, weight, bias)
    except (AttributeError, RuntimeError, TypeError) as error:
        logger.info("torch's packed linear map cannot be used, training is slower: %s", error)
        return False
    want = x @ weight.t() + bias
    found = ((got, want), (added, x + want @ weight), (plain, want))
    return all(torch.allclose(x, y) for x, y in found)
