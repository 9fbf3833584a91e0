"""The learned mixture of all layers' states that becomes a position's memory.

Fan et al. 2020 (arXiv 2002.09402), section 3: m_t = sum_{l=0..L} softmax(w)_l x_t^l, with x_t^0
the embedding, x_t^1 .. x_t^{L-1} the inputs of the later layers and x_t^L the last layer's output
before the final norm.

Size legend: L layers, C model dimension.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..ground.registry import Registry

#: Kinds of mixtures by name: what makes the fixed ones' shares of L + 1 states, up to a factor, so
#: that every precision holds them exactly; None for a learned one.
MIXTURES: Registry[Callable[[int], Tensor] | None] = Registry("memory mixture")
MIXTURES.add("softmax", None, "learned")
MIXTURES.add("mean", torch.ones)
MIXTURES.add("first", lambda num_states: one_state(0, num_states), "the embedding")
MIXTURES.add("last", lambda num_states: one_state(num_states - 1, num_states), "the last layer")


def one_state(number: int, num_states: int) -> Tensor:
    """All of the state `number`, nothing of the others."""
    shares = torch.zeros(num_states)
    shares[number] = 1.0
    return shares


class LayerMixture(nn.Module):
    """Mixture over the L + 1 states of a position.

    Args:
        num_layers: L.
        kind: one of `MIXTURES` or a state's number from 0 to L as text. "softmax" is zero at the
            start, hence the plain average. The fixed kinds are the ablations of the paper; they
            have no parameter.

    Raises:
        ValueError: for another kind.
    """

    fixed: Tensor

    def __init__(self, num_layers: int, kind: str = "softmax"):
        super().__init__()
        self.num_states = num_layers + 1
        self.kind = kind
        shares = self._fixed_shares(kind)
        if shares is None:
            self.weight = nn.Parameter(torch.zeros(self.num_states))
        else:
            self.register_buffer("fixed", shares, persistent=False)

    def _fixed_shares(self, kind: str) -> Tensor | None:
        """Shares of the states, up to a factor; None for a learned mixture."""
        if kind in MIXTURES:
            make = MIXTURES[kind]
            return None if make is None else make(self.num_states)
        if kind.isdecimal() and int(kind) < self.num_states:
            return one_state(int(kind), self.num_states)
        raise ValueError(
            f"the memory mixture is {kind!r}: it has to be one of {', '.join(MIXTURES)} or a"
            f" state's number from 0 to {self.num_states - 1}"
        )

    @property
    def is_learned(self) -> bool:
        """Whether the shares are a parameter."""
        return MIXTURES.get(self.kind, one_state) is None

    def probs(self) -> Tensor:
        """The mixture's weights `(L + 1,)`; they sum to one."""
        if self.is_learned:
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
