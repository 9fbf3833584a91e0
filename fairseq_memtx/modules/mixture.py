"""The learned mixture of all layers' states that becomes a position's memory.

Fan et al. 2020 (arXiv 2002.09402), section 3: m_t = sum_{l=0..L} softmax(w)_l x_t^l, with x_t^0
the embedding, x_t^1 .. x_t^{L-1} the inputs of the later layers and x_t^L the last layer's output
before the final norm.

WhiteMatter (Zhang and Ren 2026) has several such memories, channels, and lets the weights depend on
the token. Here a routed channel has the weights

    softmax(w + W [x_t^0; ...; x_t^L] / sqrt((L + 1) C))

with W zero at the start, so that it begins as the softmax mixture does: as the plain mean. The
scale, which keeps the scores of a wide model small, and one linear map of all states are ours.

Size legend: L layers, C model dimension, n states.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ground.registry import Registry

#: Tag of mixtures whose shares depend on the token.
ROUTED = "routed"

#: Kinds of mixtures by name: what makes the fixed ones' shares of L + 1 states, up to a factor, so
#: that every precision holds them exactly; None for a learned one.
MIXTURES: Registry[Callable[[int], Tensor] | None] = Registry("memory mixture")
MIXTURES.add("softmax", None, "learned")
MIXTURES.add("mean", torch.ones)
MIXTURES.add("first", lambda num_states: one_state(0, num_states), "the embedding")
MIXTURES.add("last", lambda num_states: one_state(num_states - 1, num_states), "the last layer")
MIXTURES.add("routed", None, "learned, for each token anew from its states", tags=[ROUTED])


def one_state(number: int, num_states: int) -> Tensor:
    """All of the state `number`, nothing of the others."""
    shares = torch.zeros(num_states)
    shares[number] = 1.0
    return shares


class LayerMixture(nn.Module):
    """Mixtures over the L + 1 states of a position, with the same weights at every position.

    Args:
        num_layers: L.
        kind: one of `MIXTURES` or a state's number from 0 to L as text. "softmax" is zero at the
            start, hence the plain average. The fixed kinds are the ablations of the paper; they
            have no parameter.
        channels: how many memories a position has.

    Attributes:
        weight: of the learned kinds, `(L + 1,)` or, of several channels, `(channels, L + 1)`.

    Raises:
        ValueError: for another kind.
    """

    fixed: Tensor

    def __init__(self, num_layers: int, kind: str = "softmax", channels: int = 1):
        super().__init__()
        self.num_states = num_layers + 1
        self.kind, self.channels = kind, channels
        shares = self._fixed_shares(kind)
        if shares is None:
            shape = (self.num_states,) if channels == 1 else (channels, self.num_states)
            self.weight = nn.Parameter(torch.zeros(shape))
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
        """The weights in the shape of `weight`; of each channel they sum to one."""
        if self.is_learned:
            return self.weight.softmax(dim=-1)
        shares = self.fixed / self.fixed.sum()
        return shares if self.channels == 1 else shares.expand(self.channels, -1)

    def by_channel(self) -> Tensor:
        """`probs` as `(channels, L + 1)`, also of one channel."""
        return self.probs().view(self.channels, -1)

    def forward(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Mix L + 1 states, each `(..., C)`, into the memory `(..., C)` of each channel."""
        stacked = torch.stack(list(states))
        probs = self.by_channel().type_as(states[0])
        return [torch.einsum("l,l...->...", shares, stacked) for shares in probs]

    @torch.no_grad()
    def mean_shares(self, states: Sequence[Tensor], padding_mask: Tensor | None) -> Tensor:
        """`(channels, L + 1)`: the mean weights over the words of a target.

        Args:
            states: L + 1 tensors `(T, B, C)`.
            padding_mask: `(B, T)`, True at padding, or None.
        """
        return self.by_channel()


class RoutedMixture(LayerMixture):
    """Mixtures whose weights are made of the states that they mix; equation above.

    Args:
        num_layers: L.
        dim: C.
        channels: how many memories a position has.
        kept: of a pruned decoder with L layers, the numbers they had in the whole one. The weights
            stay those of all states, of which one that is missing is the last one before it: as
            where layer drop leaves its layer out. How many these are, a checkpoint says.

    Attributes:
        weight: as in `LayerMixture`; the scores where the map says nothing.
        router: W, `(channels * (L + 1), (L + 1) * C)`.
        numbers: of each state that the weights are for, the number of the one given.
    """

    def __init__(
        self, num_layers: int, dim: int, channels: int = 1, kept: Sequence[int] | None = None
    ):
        # as many states as a whole decoder must have had at least
        super().__init__(num_layers if kept is None else max(kept) + 1, "routed", channels)
        self.dim, self.kept = dim, kept
        self.router = nn.Parameter(self._no_router())
        self._number()

    def _no_router(self) -> Tensor:
        return torch.zeros(self.channels * self.num_states, self.num_states * self.dim)

    def _number(self) -> None:
        self.numbers = list(range(self.num_states))
        if self.kept is not None:
            self.numbers = [sum(layer < n for layer in self.kept) for n in self.numbers]

    def scaled_router(self) -> Tensor:
        """What the states `(..., (L + 1) * C)` are multiplied by, scale included."""
        return self.router * (self.num_states * self.dim) ** -0.5

    def all_states(self, states: Sequence[Tensor]) -> list[Tensor]:
        """The states that the weights are for."""
        return [states[number] for number in self.numbers]

    def shares(self, states: Sequence[Tensor]) -> Tensor:
        """The weights `(..., channels, L + 1)` of all states `(..., C)`."""
        joined = torch.cat(list(states), dim=-1)
        return route(joined, self.scaled_router(), self.weight.view(self.channels, -1))

    def forward(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Mix states, each `(..., C)`, into the memory `(..., C)` of each channel."""
        states = self.all_states(states)
        return mix(self.shares(states), torch.stack(states, dim=-2))

    @torch.no_grad()
    def mean_shares(self, states: Sequence[Tensor], padding_mask: Tensor | None) -> Tensor:
        """The mean weights `(channels, L + 1)` of a batch, padding left out.

        Args:
            states: of each layer, `(T, B, C)`.
            padding_mask: `(B, T)`, True at padding; None for none.
        """
        shares = self.shares(self.all_states(states)).float()  # (T, B, channels, L + 1)
        if padding_mask is None:
            return shares.mean(dim=(0, 1))
        words = (~padding_mask).t()[:, :, None, None].type_as(shares)
        return (shares * words).sum(dim=(0, 1)) / words.sum().clamp(min=1.0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.get(prefix + "weight")
        if self.kept is not None and weight is not None and weight.size(-1) > self.num_states:
            self.num_states = weight.size(-1)
            self._number()
            shape = (*self.weight.shape[:-1], self.num_states)
            self.weight = nn.Parameter(self.weight.new_zeros(shape))
            self.router = nn.Parameter(self._no_router().to(self.router))
        super()._load_from_state_dict(state_dict, prefix, *args)


def route(joined: Tensor, router: Tensor, offsets: Tensor) -> Tensor:
    """Weights of states `(..., channels, n)` from themselves.

    Args:
        joined: n states side by side, `(..., n * C)`.
        router: `(channels * n, n * C)`, scaled.
        offsets: `(channels, n)`.
    """
    scores = F.linear(joined, router, offsets.flatten()).unflatten(-1, offsets.shape)
    return scores.softmax(dim=-1)


def mix(shares: Tensor, states: Tensor) -> list[Tensor]:
    """Each channel's memory `(..., C)`, of shares `(..., channels, n)`, states `(..., n, C)`."""
    return list(torch.matmul(shares.type_as(states), states).unbind(-2))


def make_mixture(
    kind: str, num_layers: int, dim: int, channels: int = 1, kept: Sequence[int] | None = None
) -> LayerMixture:
    """The mixture of a kind; arguments as those of the classes.

    Raises:
        ValueError: where there is no such kind.
    """
    if kind in MIXTURES.tagged(ROUTED):
        return RoutedMixture(num_layers, dim, channels, kept)
    return LayerMixture(num_layers, kind, channels)


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
