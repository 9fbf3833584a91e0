"""fairseq's activation functions of feed-forward networks, by its names."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def gelu(x: Tensor) -> Tensor:
    """`x * Phi(x)` (Hendrycks & Gimpel 2016, arXiv 1606.08415), in float32 as fairseq has it."""
    return F.gelu(x.float()).type_as(x)


def gelu_accurate(x: Tensor) -> Tensor:
    """Its approximation by tanh (the same, section 2)."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


def relu_squared(x: Tensor) -> Tensor:
    """`relu(x) ** 2` (So et al. 2021, arXiv 2109.08668)."""
    return F.relu(x).pow(2)


#: What `--activation-fn` can be; two of its names are one function.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": gelu,
    "tanh": torch.tanh,
    "gelu_accurate": gelu_accurate,
    "gelu_fast": gelu_accurate,
    "relu_squared": relu_squared,
}
#: Where such functions live, by what a function says of itself.
_HOMES = ("torch", "torch.nn.functional", "fairseq.modules.gelu", "fairseq.utils", __name__)


def activation_of(layer: Any) -> Callable[[Tensor], Tensor]:
    """The activation function of a layer, fairseq's or ours."""
    return layer.activation if hasattr(layer, "activation") else layer.activation_fn


def name_of(function: Callable[[Tensor], Tensor]) -> str | None:
    """The name of one of these functions, ours or fairseq's; None for another."""
    name = getattr(function, "__name__", "")
    at_home = getattr(function, "__module__", "") in _HOMES
    return name if at_home and name in ACTIVATIONS else None
