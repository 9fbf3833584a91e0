"""Linear layers with weights in eight bits, for decoding on a CPU.

A weight's row (one output) is stored as integers of -127 .. 127 and one scale; a bias stays in
float32. The input is rounded anew at each call ("dynamic quantisation"), and the product is one of
integers. PyTorch has two kinds of such products: `linear_dynamic`, made by FBGEMM or oneDNN, is the
faster one, by five times where few rows meet a large vocabulary, but announced to go; `_int_mm`
takes its place then, and rounds each input row by itself.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Product = Callable[[Tensor], Tensor]

LARGEST = 127

# FBGEMM is the faster one with few rows or outputs, oneDNN with many (AVX512 with VNNI, 512 inputs:
# by 1.2 times at 40 rows of 32,000 outputs, 1.4 at 80, 1.7 at 160). oneDNN prepares anew for each
# number of rows, which takes as long as one product, so that there had better be few such numbers.
MANY_OUTPUTS = 4096
MANY_PRODUCTS = 600_000  # rows times outputs
ROW_STEP = 8


class Int8Linear(nn.Module):
    """`nn.Linear` in evaluation, with integer weights; takes the place of one.

    Its state can be loaded from a checkpoint in float, whose weight it then rounds, or from one of
    its own kind.

    Args:
        in_features, out_features, bias: as of `nn.Linear`.
    """

    weight_int8: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight_int8", torch.zeros(out_features, in_features).to(torch.int8))
        self.register_buffer("scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)
        self.brief = False  # used for a few calls: what is made for it must be made quickly
        self._product: Product | None = None

    @classmethod
    def of(cls, linear: nn.Linear) -> "Int8Linear":
        """The rounded form of a layer in float."""
        made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        made.weight_int8, made.scale = round_rows(linear.weight.detach())
        if linear.bias is not None:
            made.bias = linear.bias.detach().float().clone()
        return made

    def forward(self, x: Tensor) -> Tensor:
        """`(..., in_features)` to `(..., out_features)` of the same dtype, without a gradient.

        Raises:
            RuntimeError: for x on another device than a CPU.
            FloatingPointError: for x with NaN or an infinite value.
        """
        if x.device.type != "cpu":
            raise RuntimeError(f"weights in eight bits are for a CPU, but x is on {x.device}")
        if self._product is None:
            self._product = self._make(self.weight_int8, self.scale, self.bias)
        # The product would round NaN to some integer, in silence; a sum is the shortest look at it.
        numbers = x.float()
        if not math.isfinite(numbers.sum().item()):
            raise FloatingPointError("the decoder's output is NaN: the model has diverged")
        return self._product(numbers).to(x.dtype)

    @property
    def _make(self) -> Callable[..., Product]:
        if not hasattr(torch.ops.quantized, "linear_prepack"):
            return int_product
        return brief_product if self.brief else packed_product

    def float_weight(self) -> Tensor:
        """The weight that the integers stand for, `(out_features, in_features)`."""
        return self.weight_int8 * self.scale[:, None]

    def select(self, rows: Tensor) -> "Int8Linear":
        """The layer that computes only the outputs `rows` (int64), in that order, for few calls."""
        made = Int8Linear(self.in_features, len(rows), self.bias is not None)
        # Indexing with [] takes thirty times as long.
        made.weight_int8 = self.weight_int8.index_select(0, rows)
        made.scale, made.brief = self.scale[rows], True
        made.bias = None if self.bias is None else self.bias[rows]
        return made

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.pop(prefix + "weight", None)
        if weight is not None:
            integers, scale = round_rows(weight)
            state_dict[prefix + "weight_int8"], state_dict[prefix + "scale"] = integers, scale
            if self.bias is not None and prefix + "bias" in state_dict:
                state_dict[prefix + "bias"] = state_dict[prefix + "bias"].float()
        self._product = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self) -> dict[str, Any]:
        # The packed weight can be neither copied nor sent to another process.
        return {**self.__dict__, "_product": None}


def packed_product(weight: Tensor, scale: Tensor, bias: Tensor | None) -> Product:
    """By `linear_dynamic`; the input has one scale and offset for all of its rows.

    Args:
        weight: int8 `(O, I)`.
        scale: `(O,)`.
        bias: `(O,)` or None.
    """
    few, many, (outputs, inputs) = pack(weight, scale, bias), None, weight.shape
    both = outputs >= MANY_OUTPUTS and has_onednn()

    def product(x: Tensor) -> Tensor:
        nonlocal many
        if not both or x.numel() // inputs * outputs < MANY_PRODUCTS:
            return linear_dynamic(x, few)
        if many is None:
            with quantized_engine("onednn"):
                many = pack(weight, scale, bias)
        rows = x.flatten(0, -2)
        padding = -len(rows) % ROW_STEP  # zeros, which do not change the scale
        found = linear_dynamic(F.pad(rows, (0, 0, 0, padding)), many)[: len(rows)]
        return found.unflatten(0, x.shape[:-1])

    return product


def has_onednn() -> bool:
    """Whether torch can multiply by oneDNN, as on x86 and, with some builds, on Arm."""
    return "onednn" in torch.backends.quantized.supported_engines


def brief_product(weight: Tensor, scale: Tensor, bias: Tensor | None) -> Product:
    """The same, multiplied by the scales afterwards; packed in a third of the time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")
        integers = torch._make_per_tensor_quantized_tensor(weight, 1.0, 0)
        packed = torch.ops.quantized.linear_prepack(integers, None)

    def product(x: Tensor) -> Tensor:
        y = linear_dynamic(x, packed).mul_(scale)
        return y if bias is None else y.add_(bias)

    return product


def pack(weight: Tensor, scale: Tensor, bias: Tensor | None) -> Any:
    """The weight as `linear_dynamic` wants it, in the layout of the quantized engine of now."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")
        zero_points = torch.zeros(len(scale), dtype=torch.int64)
        rounded = torch._make_per_channel_quantized_tensor(weight, scale.double(), zero_points, 0)
        return torch.ops.quantized.linear_prepack(rounded, bias)


def linear_dynamic(x: Tensor, packed: Any) -> Tensor:
    """The product with a packed weight."""
    return _operator()(x, packed, _seven_bits())


@cache
def _operator() -> Callable[..., Tensor]:
    """The operator itself: what torch puts before it for the sake of tracing takes twice as long
    as the product of a small model.
    """
    operator = torch.ops.quantized.linear_dynamic.default
    return getattr(operator, "_op", operator)


@cache
def _seven_bits() -> bool:
    """Whether the input gets seven bits, as where products of eight bits may overflow."""
    return not getattr(torch.cpu, "_is_vnni_supported", bool)()


@contextmanager
def quantized_engine(name: str) -> Iterator[None]:
    """Weights are packed for another library meanwhile."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def int_product(weight: Tensor, scale: Tensor, bias: Tensor | None) -> Product:
    """Of PyTorch's int8 matrices; each row of the input has a scale. Arguments as above."""
    columns = weight.t()

    def product(x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        integers, row_scale = round_rows(rows)
        y = torch._int_mm(integers, columns) * row_scale[:, None] * scale
        y = y if bias is None else y + bias
        return y.unflatten(0, x.shape[:-1])

    return product


def round_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight `(O, I)` as int8 `(O, I)` and scales `(O,)`, symmetric, one scale for each row."""
    weight = weight.float()
    scale = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
    integers = (weight / scale[:, None]).round().clamp_(-LARGEST, LARGEST)
    return integers.to(torch.int8), scale


def linears(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Every linear layer below `module`: its parent, its name there, itself."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            # subclasses may compute something else
            if type(child) is nn.Linear:
                yield parent, name, child


def round_linears(module: nn.Module, keep: tuple[str, ...] = ()) -> int:
    """Put an `Int8Linear` in the place of every linear layer; returns how many there were.

    Args:
        module: changed in place.
        keep: names of layers that stay as they are, because their weight is read directly.
    """
    found = [item for item in linears(module) if item[1] not in keep]
    for parent, name, child in found:
        setattr(parent, name, Int8Linear.of(child))
    return len(found)
