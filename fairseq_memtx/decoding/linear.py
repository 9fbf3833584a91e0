"""Linear maps of a model whose weights do not change any more.

Size legend: N rows, I inputs, O outputs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..compute.onednn import pack, usable
from ..modules.int8 import Int8Linear


class JoinedMaps(NamedTuple):
    """Linear maps of the same input side by side.

    Attributes:
        weight: `(O, I)`, in float or, with a scale, in eight bits.
        scale: `(O,)` of an output's integers, or None.
        bias: `(O,)`, or None where no map has one.
    """

    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None


def join_maps(maps: Sequence[nn.Linear | Int8Linear], scale: float = 1.0) -> JoinedMaps:
    """Maps of the same I, all in float or all in eight bits, the first of them times `scale`.

    A missing bias counts as zero.
    """
    bias = _biases(maps, scale)
    rounded = [m for m in maps if isinstance(m, Int8Linear)]
    if rounded:
        scales = torch.cat([rounded[0].scale * scale, *(m.scale for m in rounded[1:])])
        return JoinedMaps(torch.cat([m.weight_int8 for m in rounded]), scales, bias)
    weights = [m.weight.detach() for m in maps if not isinstance(m, Int8Linear)]
    weights[0] = weights[0] if scale == 1.0 else weights[0] * scale
    return JoinedMaps(weights[0] if len(weights) == 1 else torch.cat(weights), None, bias)


class FrozenLinear:
    """One or several linear maps of the same input as one: `x W^T + b`, outputs side by side.

    In float32 on a CPU the weight is packed into oneDNN's layout, a copy that multiplies a few rows
    two to three times as fast as torch's own product (see `engine.gemm`). Weights in eight bits
    stay so.

    Args:
        maps: of the same I, all in float or all in eight bits; a missing bias counts as zero.
        scale: multiplied into the first map.
        relu: apply it to the output.
        shift: added to the first outputs, as many as it has; the first map has a bias then.

    Raises:
        FloatingPointError: for a ReLU after a weight that is no number, of which oneDNN would make
            zeros, so that nobody notices.
    """

    def __init__(
        self,
        maps: Sequence[nn.Linear | Int8Linear],
        scale: float = 1.0,
        relu: bool = False,
        shift: Tensor | None = None,
    ):
        joined = join_maps(maps, scale)
        if shift is not None:
            joined = joined._replace(bias=_shifted(joined.bias, shift))
        self.bias, self.relu, self.packed = joined.bias, relu, False
        self.int8 = None if joined.scale is None else _as_int8(joined, maps)
        if relu:
            _check_finite(joined)
        if self.int8 is None:
            self.packed = usable(joined.weight)
            self.weight = pack(joined.weight) if self.packed else joined.weight

    def __call__(self, x: Tensor) -> Tensor:
        """x `(N, I)` -> `(N, O)`."""
        if self.packed:
            after = "relu" if self.relu else "none"
            return torch.ops.mkldnn._linear_pointwise.default(
                x, self.weight, self.bias, after, [], None
            )
        # forward rather than a call, whose hooks take as long as a small product
        y = F.linear(x, self.weight, self.bias) if self.int8 is None else self.int8.forward(x)
        return y.relu_() if self.relu else y

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        """The output plus `other` `(N, O)`."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise.binary(
                x, other, self.weight, self.bias, "add"
            )
        return self(x).add_(other)


def _check_finite(joined: JoinedMaps) -> None:
    for numbers in (joined.weight, joined.scale, joined.bias):
        if numbers is not None and numbers.is_floating_point() and not numbers.isfinite().all():
            raise FloatingPointError("a weight of the model is NaN or infinite: it has diverged")


def select_outputs(linear: nn.Linear | Int8Linear, rows: Tensor) -> nn.Linear | Int8Linear:
    """The map that computes only the outputs `rows` `(n,)`, in that order."""
    if isinstance(linear, Int8Linear):
        return linear.select(rows)
    made = nn.Linear(linear.in_features, len(rows), linear.bias is not None, device="meta")
    # Indexing with [] takes much longer.
    selected = linear.weight.detach().index_select(0, rows)
    made.weight = nn.Parameter(selected, requires_grad=False)
    if linear.bias is not None:
        made.bias = nn.Parameter(linear.bias.detach()[rows], requires_grad=False)
    return made


class FrozenCopy:
    """The `FrozenLinear` of a module's map, made anew when its weight is another one."""

    def __init__(self) -> None:
        self._made: FrozenLinear | None = None
        self._made_of: tuple[int, int] | None = None

    def __call__(self, linear: nn.Linear, x: Tensor) -> Tensor:
        """x `(..., I)` -> `(..., O)`."""
        made_of = linear.weight.data_ptr(), linear.weight._version
        if self._made is None or made_of != self._made_of:
            self._made, self._made_of = FrozenLinear([linear]), made_of
        return self._made(x.flatten(0, -2)).unflatten(0, x.shape[:-1])

    def __reduce__(self) -> tuple[type, tuple]:
        return FrozenCopy, ()  # a packed weight can be neither copied nor sent to another process


def _biases(maps: Sequence[nn.Linear | Int8Linear], scale: float) -> Tensor | None:
    """The biases `(O,)` of all maps, the first times `scale`; None where no map has one."""
    given = [m.bias for m in maps if m.bias is not None]
    if not given:
        return None
    biases = [given[0].new_zeros(m.out_features) if m.bias is None else m.bias for m in maps]
    return torch.cat([biases[0] * scale, *biases[1:]]).detach()


def _shifted(bias: Tensor | None, shift: Tensor) -> Tensor:
    """A bias `(O,)` with `shift` added to its first numbers."""
    assert bias is not None, "the first map has none"
    shifted = bias.clone()
    shifted[: len(shift)] += shift
    return shifted


def _as_int8(joined: JoinedMaps, maps: Sequence[nn.Linear | Int8Linear]) -> Int8Linear:
    """Joined maps in eight bits as one layer."""
    outputs, inputs = joined.weight.shape
    made = Int8Linear(inputs, outputs, joined.bias is not None)
    assert joined.scale is not None
    made.weight_int8, made.scale, made.bias = joined.weight, joined.scale, joined.bias
    made.brief = any(m.brief for m in maps if isinstance(m, Int8Linear))
    return made
