"""What a step of `device_search` reads and changes, in tensors of rounded sizes.

Size legend: B sentences, beam (rows of a sentence at most), T positions that there is room for, S
source positions, kinds of entries of the past, L layers, H heads, D head dimension.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...engine.gpu.rounded_sizes import cut, round_up
from ...engine.tape import Make
from ..fused_parts import SourceCache
from ..search_options import SearchOptions

# Sizes are multiples of these; large ones of more, an eighth at most.
LEAST_STEP = {"B": 8, "T": 32, "S": 32}


class DeviceState(NamedTuple):
    """What a step reads and changes.

    Attributes:
        source: `(2L, B, H, S, D)`, see `fused.SourceCache`.
        source_bias: `(B, 1, S)`.
        slots, bias: `(kinds, B, H, T, beam, D)` and `(B, beam, T, beam)`, see `StaticCache`.
        tokens: `(B, beam)`, the newest words.
        scores: `(B, beam)`, sums of log-probabilities.
        room: `(B,)`, how many more hypotheses a sentence may have.
        prefix: `(B, T)`, words that are forced; padding forces none.
        position, max_len, prefix_len: `(1,)`.
        words: `(T, 4, B, beam)`, of each step: the new words, the rows that they continue, which of
            the best `beam` candidates are hypotheses, and the rows that the candidates continue.
        sums: `(T, 2, B, beam)`, of each step the scores of the new words and of the candidates.
    """

    source: Tensor
    source_bias: Tensor
    slots: Tensor
    bias: Tensor
    tokens: Tensor
    scores: Tensor
    room: Tensor
    prefix: Tensor
    position: Tensor
    max_len: Tensor
    prefix_len: Tensor
    words: Tensor
    sums: Tensor


# A letter for each axis: which size of the form it is, or a dot for none of them.
AXES = {
    "source": ".B.S.", "source_bias": "B.S", "slots": ".B.T..", "bias": "B.T.",
    "tokens": "B.", "scores": "B.", "room": "B", "prefix": "BT",
    "position": ".", "max_len": ".", "prefix_len": ".", "words": "T.B.", "sums": "T.B.",
}  # fmt: skip


class Form(NamedTuple):
    """What the steps that one graph can serve have in common.

    Attributes:
        B, T, S: rounded sizes.
        forces: whether words may be forced.
        rules: the options that are no part of the state.
    """

    B: int
    T: int
    S: int
    forces: bool
    rules: SearchOptions

    def shape(self, name: str, x: Tensor) -> tuple[int, ...]:
        """The rounded shape of a state's tensor."""
        sizes = {"B": self.B, "T": self.T, "S": self.S}
        return tuple(sizes.get(axis, n) for axis, n in zip(AXES[name], x.shape, strict=True))


def rounded(axis: str, size: int) -> int:
    """The size of a form that is large enough."""
    return round_up(size, LEAST_STEP[axis])


def first_state(
    source: SourceCache, options: SearchOptions, prefix: Tensor | None, kinds: int
) -> DeviceState:
    """The state of B sentences before the first step, without room for positions.

    All rows of a sentence are the same at first: only the first one has a score to compete with.
    """
    entries, size = source.entries, options.beam_size
    _, sentences, heads, source_length, head_dim = entries.shape

    def number(*shape: int, fill: int = 0) -> Tensor:
        return torch.full(shape, fill, device=entries.device)

    scores = torch.full((sentences, size), -math.inf, device=entries.device)
    scores[:, 0] = 0.0
    bias = entries.new_zeros((sentences, 1, source_length)) if source.bias is None else source.bias
    prefix = number(sentences, 0) if prefix is None else prefix[:, : options.max_len]
    return DeviceState(
        source=entries,
        source_bias=bias,
        slots=entries.new_empty((kinds, sentences, heads, 0, size, head_dim)),
        bias=entries.new_empty((sentences, size, 0, size)),
        tokens=number(sentences, size, fill=options.bos),
        scores=scores,
        room=number(sentences, fill=size),
        prefix=prefix,
        position=number(1),
        max_len=number(1, fill=options.max_len),
        prefix_len=number(1, fill=prefix.size(1)),
        words=number(0, 4, sentences, size),
        sums=scores.new_empty((0, 2, sentences, size)),
    )


def place(given: DeviceState, form: Form, make: Make) -> DeviceState:
    """The state in tensors of rounded sizes; what is added is zero, or hidden."""
    made = {}
    for name, x in given._asdict().items():
        made[name] = fixed = make(form.shape(name, x), x)
        fixed.fill_(torch.finfo(x.dtype).min if name.endswith("bias") else 0)
        cut(fixed, x.shape).copy_(x)
    return DeviceState(**made)


def select(state: DeviceState, kept: Tensor) -> DeviceState:
    """A copy of what is told of the sentences at the places `kept` `(b,)`, without `words`, `sums`.

    Added sentences have no room for hypotheses, so that they are none that are kept.
    """
    found = {}
    for name, x in state._asdict().items():
        axis = AXES[name].find("B")
        x = x[:0] if AXES[name].startswith("T") else x
        found[name] = x.clone() if axis < 0 else x.index_select(axis, kept)
    return DeviceState(**found)
