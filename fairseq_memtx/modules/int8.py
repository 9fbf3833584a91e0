"""Linear layers with weights in eight bits, for decoding on a CPU.

A weight's row (one output) is stored as integers of -127 .. 127 and one scale; a bias stays in
float32. The input is rounded anew at each call ("dynamic quantisation"), and the product is one of
integers. PyTorch has two such products: that of FBGEMM is the faster one, by five times where few
rows meet a large vocabulary, but announced to go; `_int_mm` takes its place then, and rounds each
input row by itself.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

LARGEST = 127


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
        self._product: Callable[[Tensor], Tensor] | None = None

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
        """
        if x.device.type != "cpu":
            raise RuntimeError(f"weights in eight bits are for a CPU, but x is on {x.device}")
        if self._product is None:
            make = fbgemm_product if hasattr(torch.ops.quantized, "linear_prepack") else int_product
            self._product = make(self.weight_int8, self.scale, self.bias)
        return self._product(x.float()).to(x.dtype)

    def float_weight(self) -> Tensor:
        """The weight that the integers stand for, `(out_features, in_features)`."""
        return self.weight_int8 * self.scale[:, None]

    def select(self, rows: Tensor) -> "Int8Linear":
        """The layer that computes only the outputs `rows` (int64), in that order."""
        made = Int8Linear(self.in_features, len(rows), self.bias is not None)
        made.weight_int8, made.scale = self.weight_int8[rows], self.scale[rows]
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


Product = Callable[[Tensor], Tensor]


def fbgemm_product(weight: Tensor, scale: Tensor, bias: Tensor | None) -> Product:
    """Of FBGEMM; the input has one scale and offset for all of its rows.

    Args:
        weight: int8 `(O, I)`.
        scale: `(O,)`.
        bias: `(O,)` or None.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")
        zero_points = torch.zeros(len(scale), dtype=torch.int64)
        rounded = torch._make_per_channel_quantized_tensor(weight, scale.double(), zero_points, 0)
        packed = torch.ops.quantized.linear_prepack(rounded, bias)
    # Processors without instructions for products of eight bits overflow unless seven are used.
    seven_bits = not getattr(torch.cpu, "_is_vnni_supported", bool)()
    return lambda x: torch.ops.quantized.linear_dynamic(x, packed, seven_bits)


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
