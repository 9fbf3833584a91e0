"""Compression functions f_c: a block of old memories to a shorter one (Rae et al. 2019, section 3).

Every function takes a block of n states, n a multiple of the rate c, and makes n / c of it. States
that do not exist (before the first, after a sentence's end) count for nothing, and a result exists
where one of the states it stands for does.

The paper does not say what its dilated convolutions look like. Here: two convolutions of width 3
with dilations 1 and 2 over the block, each added to its input after a ReLU, then the convolution of
width and stride c.

Size legend: B sentences, n states of a block, c rate, C model dimension.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ground.registry import Registry


class Compressed(NamedTuple):
    """States `(B, n / c, C)`, and a mask `(B, n / c)`, True where one does not exist, or None."""

    states: Tensor
    hidden: Tensor | None


class Compression(nn.Module):
    """A compression function; a subclass says how in `forward`.

    Args:
        embed_dim: C.
        rate: c.

    Attributes:
        is_learned: it has parameters, which a loss has to teach.
        uses_attention: it needs the attention that each state has received.
    """

    is_learned = False
    uses_attention = False

    def __init__(self, embed_dim: int, rate: int):
        super().__init__()
        self.embed_dim = embed_dim
        self.rate = rate

    def forward(self, block: Tensor, hidden: Tensor | None, usage: Tensor | None) -> Compressed:
        """Compress a block.

        Args:
            block: `(B, n, C)`.
            hidden: `(B, n)`, True where a state does not exist, or None.
            usage: `(B, n)`, attention received, for functions that use it.
        """
        raise NotImplementedError

    def group(self, x: Tensor) -> Tensor:
        """`(B, n, ...)` -> `(B, n / c, c, ...)`."""
        return x.unflatten(1, (-1, self.rate))

    def all_hidden(self, hidden: Tensor | None) -> Tensor | None:
        """Which results do not exist: those of a group without a state that does."""
        return None if hidden is None else self.group(hidden).all(dim=2)


#: Compression functions by name; a new one is added by its class alone.
COMPRESSIONS: Registry[type[Compression]] = Registry("compression function")


@COMPRESSIONS.named("max-pool")
class MaxPool(Compression):
    """The largest value of each feature in each group."""

    def forward(self, block: Tensor, hidden: Tensor | None, usage: Tensor | None) -> Compressed:
        groups = self.group(block)
        if hidden is None:
            return Compressed(groups.amax(dim=2), None)
        absent = self.group(hidden).unsqueeze(-1)
        largest = groups.masked_fill(absent, float("-inf")).amax(dim=2)
        return Compressed(largest.masked_fill(absent.all(dim=2), 0.0), self.all_hidden(hidden))


@COMPRESSIONS.named("mean-pool")
class MeanPool(Compression):
    """The mean of each group's existing states."""

    def forward(self, block: Tensor, hidden: Tensor | None, usage: Tensor | None) -> Compressed:
        groups = self.group(block)
        if hidden is None:
            return Compressed(groups.mean(dim=2), None)
        exists = (~self.group(hidden)).to(block.dtype).unsqueeze(-1)
        mean = (groups * exists).sum(dim=2) / exists.sum(dim=2).clamp(min=1.0)
        return Compressed(mean, self.all_hidden(hidden))


@COMPRESSIONS.named("conv")
class Conv(Compression):
    """A convolution of width and stride c."""

    is_learned = True

    def __init__(self, embed_dim: int, rate: int):
        super().__init__(embed_dim, rate)
        self.conv = nn.Conv1d(embed_dim, embed_dim, kernel_size=rate, stride=rate)

    def forward(self, block: Tensor, hidden: Tensor | None, usage: Tensor | None) -> Compressed:
        block = zero_hidden(block, hidden)
        return Compressed(self.reduce(block), self.all_hidden(hidden))

    def reduce(self, block: Tensor) -> Tensor:
        """The convolution as one matrix product over groups `(B, n, C)` -> `(B, n / c, C)`."""
        # weight (C_out, C_in, c) -> (C_out, c * C_in), the order in which a group lies in memory
        weight = self.conv.weight.transpose(1, 2).flatten(1)
        return nn.functional.linear(self.group(block).flatten(2), weight, self.conv.bias)


@COMPRESSIONS.named("dilated-conv")
class DilatedConv(Conv):
    """Dilated convolutions, which let states of the whole block meet, then `Conv`."""

    DILATIONS = (1, 2)

    def __init__(self, embed_dim: int, rate: int):
        super().__init__(embed_dim, rate)
        self.dilated = nn.ModuleList(
            nn.Conv1d(embed_dim, embed_dim, kernel_size=3, dilation=d, padding=d)
            for d in self.DILATIONS
        )

    def forward(self, block: Tensor, hidden: Tensor | None, usage: Tensor | None) -> Compressed:
        x = zero_hidden(block, hidden)
        for conv in self.dilated:
            # (B, n, C) -> (B, C, n) and back
            x = x + conv(x.transpose(1, 2)).relu().transpose(1, 2)
            x = zero_hidden(x, hidden)
        return Compressed(self.reduce(x), self.all_hidden(hidden))


@COMPRESSIONS.named("most-used", "those that received the most attention are kept")
class MostUsed(Compression):
    """The n / c states that received the most attention as memories, in their order.

    Attention is summed over queries and averaged over heads. Among equals the older is kept.
    Nothing is learned.
    """

    uses_attention = True

    def forward(self, block: Tensor, hidden: Tensor | None, usage: Tensor | None) -> Compressed:
        if usage is None:
            raise ValueError("the most-used compression needs the attention received")
        if hidden is not None:
            usage = usage.masked_fill(hidden, -1.0)
        number = block.size(1) // self.rate
        best = usage.argsort(dim=1, descending=True, stable=True)[:, :number]
        best = best.sort(dim=1).values
        states = block.gather(1, best.unsqueeze(-1).expand(-1, -1, block.size(2)))
        return Compressed(states, None if hidden is None else hidden.gather(1, best))


def zero_hidden(block: Tensor, hidden: Tensor | None) -> Tensor:
    """Zeros in place of the states `(B, n, C)` that do not exist."""
    return block if hidden is None else block.masked_fill(hidden.unsqueeze(-1), 0.0)


class Reconstruction(nn.Module):
    """g of the auto-encoding loss: compressed states back to c times as many, each state linearly.

    The transposed convolution of width and stride c.
    """

    def __init__(self, embed_dim: int, rate: int):
        super().__init__()
        self.rate = rate
        self.expand = nn.Linear(embed_dim, rate * embed_dim)

    def forward(self, states: Tensor) -> Tensor:
        """`(B, n / c, C)` -> `(B, n, C)`."""
        return self.expand(states).unflatten(2, (self.rate, -1)).flatten(1, 2)


def frozen(module: nn.Module, *args: Tensor) -> Tensor:
    """Apply `module` without its parameters receiving a gradient; its inputs still do.

    For losses that may teach one part of a model only: nothing on the module changes.
    """
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    return torch.func.functional_call(module, parameters, args)
