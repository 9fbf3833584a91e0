"""A batch in rounded sizes, so that a bounded number of recordings serves all batches.

Sentences, target positions and source positions are added at the end. What is added changes nothing
else: sentences do not see each other, positions do not see later ones, added source positions are
masked, and the gradient of all that is added is zero.

Size legend: T target positions, B sentences, S source positions, P carried memories, M = P + T,
C model dimension, H heads.
"""

import weakref
from collections.abc import Hashable, Iterator
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from ...modules.carried_memory import CarriedMemory, num_past
from ...modules.cross_attention import CrossMemory
from ...modules.dropout import LayerMasks
from ..gradients import Weights
from ..interface import Recurrence

# Sizes up to here are multiples of this; larger ones are rounded up by at most an eighth.
LEAST_STEP = {"T": 2, "B": 8, "S": 8}

# Which axes of a tensor are sizes of the batch, by its name without the layer's number.
AXES = {
    "inputs": "TB.",
    "memory.probs": "..",
    "memory.offsets": "..",
    "memory.router": "...",
    "padding_mask": "BT",
    "past.keys": ".B...",
    "past.values": ".B...",
    "past.hidden": "B.",
    "sources.keys": "B.S.",
    "sources.values": "B.S.",
    "sources.padding_mask": "BS",
    "masks.memory_probs": "TB.M",
    "masks.memory_out": "TB.",
    "masks.cross_probs": "TB.S",
    "masks.cross_out": "TB.",
    "masks.activation": "TB.",
    "masks.ffn_out": "TB.",
}
# What stays where it is from batch to batch.
PARAMETERS = ("memory.", "layers.")
# But for what is made of the mixture's parameters.
MADE_FOR_A_BATCH = ("memory.probs", "memory.offsets", "memory.router")


def round_up(size: int, least: int) -> int:
    """The next multiple of `least`, or of a power of two that is about a sixteenth of `size`."""
    step = max(least, 2 ** max(size.bit_length() - 4, 0))
    return -(-size // step) * step


def fill(fixed: Tensor, given: Tensor, axes: str = "") -> None:
    """Copy a batch's tensor into one of rounded sizes; what is added is zero, or hidden source."""
    corner = cut(fixed, given.shape)
    if corner.shape != fixed.shape:
        fixed.zero_()  # not what an earlier batch left: it may be infinite
    corner.copy_(given)
    if axes == "BS":
        fixed[: len(given), given.size(1) :] = True


def cut(fixed: Tensor, shape: torch.Size) -> Tensor:
    """The part of a tensor of rounded sizes that belongs to the batch."""
    return fixed[tuple(slice(size) for size in shape)]


def axes(name: str) -> str:
    """A letter for each axis of a batch's tensor: which size it is, or a dot for none of them."""
    return AXES[".".join(part for part in name.split(".") if not part.isdecimal())]


class Batch:
    """A recurrence with its weights, and what of it a recording depends on.

    Args:
        r: the recurrence.
        weights: by name, see `manual`.
        dtype: of products.
        keep: a backward may follow.

    Attributes:
        kept: numbers of the layers that are not left out.
        sizes, rounded: T, B, S and M.
        moving: the tensors that are new with every batch, by name.
        wanted: names of the weights whose gradient is wanted.
    """

    def __init__(self, r: Recurrence, weights: Weights, dtype: torch.dtype, keep: bool):
        self.r, self.weights, self.dtype, self.keep = r, weights, dtype, keep
        self.kept = [i for i, layer in enumerate(r.layers) if layer is not None]
        num_steps, num_rows, _ = r.inputs.shape
        carried = num_past(r.past)
        sizes = {"T": num_steps, "B": num_rows, "S": _source_length(r)}
        rounded = {axis: round_up(n, LEAST_STEP[axis]) for axis, n in sizes.items()}
        self.sizes, self.rounded = (x | {"M": carried + x["T"]} for x in (sizes, rounded))
        self.moving = dict(self._moving())
        self.wanted = {name for name, x in weights.items() if keep and x.requires_grad}

    @cached_property
    def form(self) -> Hashable:
        """Equal for batches that one recording can serve: it reads parameters where they lie."""
        parameters = [x for name, x in self.weights.items() if name not in self.moving]
        modules = [self.r.memory, *(self.r.layers[i] for i in self.kept)]
        return (
            self.keep,
            self.dtype,
            self.r.probs_layer,
            tuple(self.kept),
            tuple(sorted(self.wanted)),
            tuple((name, self.shape(name, x), x.dtype) for name, x in self.moving.items()),
            tuple((x.data_ptr(), x.shape, x.stride(), x.dtype) for x in parameters),
            # Settings that are no tensors; weak, so that a model that is gone is not kept.
            tuple(weakref.ref(module) for module in modules),
        )

    def shape(self, name: str, x: Tensor) -> tuple[int, ...]:
        """The rounded shape of a batch's tensor."""
        return tuple(self.rounded.get(a, n) for a, n in zip(axes(name), x.shape, strict=True))

    def on(self, fixed: dict[str, Tensor]) -> tuple[Recurrence, Weights]:
        """The recurrence and its weights, on other tensors in the place of `moving`."""
        sources = {
            i: CrossMemory(
                fixed[f"sources.{i}.keys"],
                fixed[f"sources.{i}.values"],
                fixed.get(f"sources.{i}.padding_mask"),
            )
            for i in (self.kept if self.r.sources else [])
        }
        masks = {
            i: LayerMasks(*(fixed.get(f"masks.{i}.{field}") for field in LayerMasks._fields))
            for i in (self.kept if self.r.masks else [])
        }
        recurrence = replace(
            self.r,
            inputs=fixed["inputs"],
            sources=_for_all_layers(sources, len(self.r.layers)),
            padding_mask=fixed.get("padding_mask"),
            masks=_for_all_layers(masks, len(self.r.layers)),
            past=self._past_on(fixed),
        )
        return recurrence, {n: fixed.get(n, x).detach() for n, x in self.weights.items()}

    def _past_on(self, fixed: dict[str, Tensor]) -> CarriedMemory | None:
        if self.r.past is None:
            return None
        return CarriedMemory(fixed["past.keys"], fixed["past.values"], fixed.get("past.hidden"))

    def _moving(self) -> Iterator[tuple[str, Tensor]]:
        for name, x in self.weights.items():
            if name in MADE_FOR_A_BATCH or not name.startswith(PARAMETERS):
                yield name, x
        if self.r.padding_mask is not None:
            yield "padding_mask", self.r.padding_mask
        if self.r.past is not None and self.r.past.hidden is not None:
            yield "past.hidden", self.r.past.hidden
        none_hidden = self._none_hidden()
        for i in self.kept:
            hidden = self.r.sources[i].padding_mask if self.r.sources else None
            hidden = none_hidden if hidden is None else hidden
            if hidden is not None:
                yield f"sources.{i}.padding_mask", hidden
            for field, mask in (self.r.masks[i]._asdict() if self.r.masks else {}).items():
                if mask is not None:
                    yield f"masks.{i}.{field}", mask

    def _none_hidden(self) -> Tensor | None:
        """A mask of the source in which nothing is hidden, if positions will be added to it."""
        if self.rounded["S"] == self.sizes["S"]:
            return None
        size = (self.sizes["B"], self.sizes["S"])
        return torch.zeros(size, dtype=torch.bool, device=self.r.inputs.device)


def _source_length(r: Recurrence) -> int:
    return r.sources[0].keys.size(2) if r.sources else 0


def _for_all_layers(found: dict, num_layers: int) -> list:
    """An entry for every layer; those of layers that are left out are never looked at."""
    return [found.get(i, next(iter(found.values()))) for i in range(num_layers)] if found else []
