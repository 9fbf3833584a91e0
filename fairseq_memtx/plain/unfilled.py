"""Building modules whose numbers come from a file: without drawing them at random first.

Drawing takes longer than reading, and without memory (on torch's device `meta`) it makes torch
import its compiler, which takes seconds.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAW = {
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.xavier_uniform_,
    nn.init.kaiming_uniform_,
    Tensor.normal_,
    Tensor.uniform_,
}


class Unfilled(TorchFunctionMode):
    """While it is open, what would be drawn stays as it is."""

    def __torch_function__(
        self, func: Callable, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAW:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
