"""Weights and gradients by name, as a run passes them to its parts."""

from torch import Tensor

Weights = dict[str, Tensor]


class Wanted:
    """Names of the weights whose gradient is wanted.

    Args:
        names: all of them.
        prefix: taken for granted in the questions.
    """

    def __init__(self, names: set[str], prefix: str = ""):
        self._names, self._prefix = names, prefix

    def any(self, *names: str) -> bool:
        """Whether the gradient of one of these is wanted."""
        return any(self._prefix + name in self._names for name in names)

    def under(self, prefix: str) -> "Wanted":
        """The same names, where `prefix` goes without saying."""
        return Wanted(self._names, self._prefix + prefix)


def under_prefix(prefix: str, weights: Weights) -> Weights:
    """The weights whose name begins with `prefix`, without it."""
    return {n.removeprefix(prefix): x for n, x in weights.items() if n.startswith(prefix)}


def with_prefix(prefix: str, weights: Weights) -> Weights:
    """The weights, `prefix` before each name."""
    return {prefix + name: x for name, x in weights.items()}
