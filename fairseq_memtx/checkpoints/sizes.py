"""Bounds what is made from a checkpoint's settings by the weights that it holds."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..ground.errors import UserError
from . import settings, weights

#: A model in float may be made for weights in eight bits, some of them under several names.
MOST_TIMES = 16
#: Numbers that a tensor may have in any case: a table of positions, which no checkpoint holds.
ALWAYS = 1 << 25
#: What is made on the way, such as the parts of that table, in comparison with the largest tensor.
MADE_TIMES = 16
#: Layers that a model may have without one weight each in the file.
FEW_LAYERS = 256
#: Settings that are the size of something.
SIZES = re.compile(r"(layers|dim|positions|heads|_len|size)$")
#: What makes tensors when a model is built.
MAKERS = frozenset({
    "empty", "zeros", "ones", "full", "rand", "randn", "arange", "linspace", "eye", "tensor", "cat",
    "mul", "add", "__mul__", "__rmul__", "__add__", "__radd__", "outer", "clone", "exp", "sin",
    "cos", "new_zeros", "new_ones", "new_full", "triu",
})  # fmt: skip


@contextlib.contextmanager
def bounded(state: Mapping[str, Any], path: str | os.PathLike[str]) -> Iterator[None]:
    """Refuse settings that describe a model much larger than the weights beside them.

    A tensor is looked at before it is made, wherever in the block that happens.

    Args:
        state: a loaded checkpoint with `cfg`.
        path: of the file.

    Raises:
        UserError: the message tells both sizes.
    """
    held = sum(tensor.numel() for tensor in weights.tensors(dict(state["model"])))
    largest = MOST_TIMES * held + ALWAYS
    try:
        with _Bound(largest):
            yield
    except _TooLargeError:
        raise UserError(
            f"`{path}` was not loaded: its settings describe a model of more than {largest:,}"
            f" numbers, but it holds {held:,}. Get the file from a source you trust."
        ) from None


def check_settings(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Refuse a size in the settings that no model of these weights can have.

    Args:
        state: a loaded checkpoint, whose settings are `settings.plain` already.
        path: of the file.

    Raises:
        UserError: the message names the setting.
    """
    held = len(state["model"])
    numbers = sum(tensor.numel() for tensor in weights.tensors(dict(state["model"])))
    most = {True: max(FEW_LAYERS, held), False: MOST_TIMES * numbers + ALWAYS}
    model = settings.as_dict(state.get("cfg")).get("model"), state.get("args")
    for name, value in (pair for holder in model for pair in settings.texts(holder)):
        size = SIZES.search(name) and isinstance(value, int)
        if size and value > most["layers" in name]:
            raise UserError(
                f"`{path}` was not loaded: its setting `{name}` is {value:,}, but it holds"
                f" {held:,} weights of {numbers:,} numbers. Get the file from a source you trust."
            )


class _TooLargeError(Exception):
    """A tensor would have more numbers than there is room for."""


class _Bound(TorchFunctionMode):
    """Looks at the size of every tensor before it is made, and at that of all together.

    A mode of the dispatcher would see more, but costs seconds of imports.
    """

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.largest, self.room = largest, MADE_TIMES * largest

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in MAKERS and _size(args) > self.largest:
            raise _TooLargeError
        made = function(*args, **(kwargs or {}))
        if name in MAKERS and isinstance(made, torch.Tensor):
            self.room -= made.numel()
            if self.room < 0:
                raise _TooLargeError
        return made


def _size(args: Sequence[Any]) -> float:
    """An upper bound of what a function makes of the sizes given, or of tensors combined."""
    tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
    given = [arg for arg in args if isinstance(arg, list | tuple) and arg]
    inner = [item for items in given for item in items if isinstance(item, torch.Tensor)]
    shapes = [items for items in given if all(isinstance(item, int) for item in items)]
    numbers = [arg for arg in args if isinstance(arg, int | float)]
    if tensors:  # not torch.broadcast_shapes, whose first call imports for seconds
        aligned = zip_longest(*(reversed(tensor.shape) for tensor in tensors), fillvalue=1)
        return math.prod(map(max, aligned))
    sizes = [*map(math.prod, shapes), *map(abs, numbers), sum(part.numel() for part in inner)]
    # a size may be given as several numbers too
    return max([*sizes, math.prod(n for n in numbers if isinstance(n, int) and n > 1)])
