"""The learned mixture of all layers' states that becomes a position's memory.

Fan et al. 2020 (arXiv 2002.09402), section 3: m_t = sum_{l=0..L} softmax(w)_l x_t^l, with x_t^0
the embedding, x_t^1 .. x_t^{L-1} the inputs of the later layers and x_t^L the last layer's output
before the final norm.

Size legend: L layers, C model dimension.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MIXTURES = ("softmax", "mean", "first", "last")


class LayerMixture(nn.Module):
    """Mixture over the L + 1 states of a position.

    Args:
        num_layers: L.
        kind: "softmax" (learned, zero at the start, hence the plain average), "mean", "first" (the
            embedding), "last" (the last layer's output), or a state's number from 0 to L as text.
            The fixed kinds are the ablations of the paper; they have no parameter.

    Raises:
        ValueError: for another kind.
    """

    fixed: Tensor

    def __init__(self, num_layers: int, kind: str = "softmax"):
        super().__init__()
        self.num_states = num_layers + 1
        self.kind = kind
        if kind == "softmax":
            self.weight = nn.Parameter(torch.zeros(self.num_states))
        else:
            self.register_buffer("fixed", self._chosen_states(kind), persistent=False)

    def _chosen_states(self, kind: str) -> Tensor:
        """Ones at the states that a fixed kind averages, which every precision holds exactly."""
        if kind == "mean":
            return torch.ones(self.num_states)
        chosen = {"first": 0, "last": self.num_states - 1}.get(kind)
        if chosen is None and kind.isdecimal() and int(kind) < self.num_states:
            chosen = int(kind)
        if chosen is None:
            raise ValueError(
                f"the memory mixture must be one of {', '.join(MIXTURES)} or a state's number"
                f" from 0 to {self.num_states - 1}, but is {kind!r}"
            )
        states = torch.zeros(self.num_states)
        states[chosen] = 1.0
        return states

    def probs(self) -> Tensor:
        """The mixture's weights `(L + 1,)`; they sum to one."""
        if self.kind == "softmax":
            return self.weight.softmax(dim=0)
        return self.fixed / self.fixed.sum()

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Mix L + 1 states, each `(..., C)`, into one `(..., C)`."""
        probs = self.probs().type_as(states[0])
        return torch.einsum("l,l...->...", probs, torch.stack(list(states)))


def fold_left_out(weight: Tensor, kept: Sequence[int]) -> Tensor:
    """The parameter of a softmax mixture after all layers but `kept` are taken away.

    A layer that is left out passes its state on, so that its share goes to the state before it.

    Args:
        weight: `(L + 1,)`, of the whole stack.
        kept: numbers of the layers that stay, from 0, ascending.

    Returns:
        `(len(kept) + 1,)`.
    """
    first = [0, *(layer + 1 for layer in kept)]
    end = [*first[1:], weight.numel()]
    return torch.stack([weight[a:b].logsumexp(0) for a, b in zip(first, end, strict=True)])
