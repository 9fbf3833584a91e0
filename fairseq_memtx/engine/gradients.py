"""Sums of the weights' gradients, which grow chunk by chunk of positions while the loop runs back.

Size legend: N rows (positions times sentences), I inputs and O outputs of a linear map.
"""

import torch
from torch import Tensor

from .gemm import weight_gradient

Weights = dict[str, Tensor]


class GradientSums:
    """Gradients by name; those that nobody wants are not computed.

    Args:
        wanted: names of the weights whose gradient is wanted.
        sums: where they are collected.
        prefix: put before every name.
    """

    def __init__(self, wanted: set[str], sums: Weights | None = None, prefix: str = ""):
        self.sums: Weights = {} if sums is None else sums
        self._wanted, self._prefix = wanted, prefix

    def under(self, prefix: str) -> "GradientSums":
        """The same sums, where `prefix` before the names goes without saying."""
        return GradientSums(self._wanted, self.sums, self._prefix + prefix)

    def want(self, *names: str) -> bool:
        """Whether the gradient of one of these is wanted."""
        return any(self._prefix + name in self._wanted for name in names)

    def add(self, name: str, grad: Tensor) -> None:
        """Add to the gradient of `name`; the tensor is then owned by the sums."""
        if self.want(name):
            known = self.sums.get(self._prefix + name)
            self.sums[self._prefix + name] = grad if known is None else known.add_(grad)

    def add_linear(self, name: str, inputs: Tensor, grads: Tensor) -> None:
        """Of a linear map, from its inputs `(N, I)` and the gradients of its outputs `(N, O)`."""
        if self.want(f"{name}.weight"):
            key = f"{self._prefix}{name}.weight"
            self.sums[key] = weight_gradient(inputs, grads, self.sums.get(key))
        if self.want(f"{name}.bias"):
            self.add(f"{name}.bias", grads.sum(0))

    def add_products(self, name: str, a: Tensor, b: Tensor) -> None:
        """Add the products of matching matrices of a and b; the gradient has their shape."""
        if self.want(name):
            key = self._prefix + name
            known = self.sums.get(key)
            self.sums[key] = torch.bmm(a, b) if known is None else known.baddbmm_(a, b)


def under_prefix(prefix: str, weights: Weights) -> Weights:
    """The weights whose name begins with `prefix`, without it."""
    return {n.removeprefix(prefix): x for n, x in weights.items() if n.startswith(prefix)}
