"""Which weights of a Transformer a model with a memory decoder starts from, tensor by tensor.

Fan et al. 2020 (arXiv 2002.09402) name this remedy for slow training and do not describe it; how a
key and value projection comes from the several that it replaces is ours, after LCKV (Wu and Tu
2024), which averages or copies those of a pretrained model.

Names are those of fairseq's Transformer, which our decoders keep wherever they have the same part.
What a decoder has beyond them (a mixture, relative positions, a compression) keeps its own first
value, so that a new decoder with fairseq's names needs nothing here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
_MEMORY = re.compile(r"decoder\.memory\.(?:([kv]_proj)\.(\d+)|(layer_norm))\.(weight|bias)")
#: What fairseq's decoder layer consists of.
_LAYER_PARTS = re.compile(
    r"(self_attn|encoder_attn)\.(q|k|v|out)_proj\."
    r"|(self_attn|encoder_attn|final)_layer_norm\.|fc[12]\."
)
#: Relative positions of an encoder, which a Transformer's has not.
_DISTANCES = re.compile(r"encoder\.layers\.\d+\.self_attn\.positions\.")
#: Absolute positions may be given up for relative ones.
_POSITIONS = re.compile(r"(encoder|decoder)\.embed_positions\.")


@dataclass(frozen=True)
class LayerPlan:
    """Which of the Transformer's decoder layers feed ours.

    Attributes:
        layers: for each of our layers, the number of the one it starts from.
        memory: the layers whose average what all our layers share starts from.
        pairs: for each pair of projections of a memory, the layers whose average it starts from;
            empty where there is one, which starts from `memory`.
    """

    layers: tuple[int, ...]
    memory: tuple[int, ...]
    pairs: tuple[tuple[int, ...], ...] = ()


@dataclass
class Report:
    """What became of each weight, by our name and, where it comes from elsewhere, by theirs."""

    copied: dict[str, str] = field(default_factory=dict)
    averaged: dict[str, tuple[str, ...]] = field(default_factory=dict)
    initialised: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The numbers of tensors in one line."""
        return (
            f"{len(self.copied)} tensors copied, {len(self.averaged)} averaged,"
            f" {len(self.initialised)} as initialised, {len(self.left_out)} of the checkpoint not"
            " used"
        )


def choose_layers(choice: str, num_theirs: int, num_ours: int) -> tuple[int, ...]:
    """The layer, of `num_theirs`, that each of `num_ours` starts from.

    Args:
        choice: "spread" (every second of a decoder twice as deep, and so on, always with the last
            one, whose output the output projection was trained for), "first", "last", or numbers
            from 0, separated by commas.
        num_theirs: layers of the Transformer's decoder.
        num_ours: layers of ours.

    Raises:
        ValueError: where there are too few layers, or the numbers do not fit.
    """
    if num_theirs < num_ours:
        raise ValueError(f"has {num_theirs} decoder layers: at least {num_ours} are needed")
    if choice == "spread":
        return tuple((i + 1) * num_theirs // num_ours - 1 for i in range(num_ours))
    if choice == "first":
        return tuple(range(num_ours))
    if choice == "last":
        return tuple(range(num_theirs - num_ours, num_theirs))
    parts = choice.split(",")
    if len(parts) != num_ours or not all(_is_layer(part, num_theirs) for part in parts):
        raise ValueError(
            f"cannot be used with the layers {choice}: choose spread, first, last or {num_ours}"
            f" numbers from 0 to {num_theirs - 1}"
        )
    return tuple(int(part) for part in parts)


def choose_memory(choice: str, layers: tuple[int, ...], num_theirs: int) -> tuple[int, ...]:
    """The layers that a shared projection is averaged from: "average" (`layers`) or a number.

    Raises:
        ValueError: for a number that no layer has.
    """
    if choice == "average":
        return tuple(dict.fromkeys(layers))
    if not _is_layer(choice, num_theirs):
        raise ValueError(
            f"cannot be used with the memory {choice}: choose average or a number from 0 to"
            f" {num_theirs - 1}"
        )
    return (int(choice),)


def choose_pairs(
    choice: str, layers: tuple[int, ...], readers: tuple[int, ...], num_theirs: int
) -> tuple[tuple[int, ...], ...]:
    """The layers that each pair of projections starts from: those that feed its readers.

    Args:
        choice: of the layers of a pair that several layers share, see `choose_memory`.
        layers: see `LayerPlan`.
        readers: of each of our layers, the pair that it reads.
        num_theirs: layers of the Transformer's decoder.

    Raises:
        ValueError: for a number that no layer has.
    """
    found = []
    for pair in range(1 + max(readers)):
        feeding = tuple(x for x, read in zip(layers, readers, strict=True) if read == pair)
        alone = len(feeding) == 1 and len(layers) > 1  # a layer's own projection comes from its own
        found.append(feeding if alone else choose_memory(choice, feeding, num_theirs))
    return tuple(found)


def _is_layer(text: str, num_layers: int) -> bool:
    return text.isdecimal() and int(text) < num_layers


def origin(name: str, plan: LayerPlan) -> tuple[str, ...]:
    """The Transformer's weights whose average the weight `name` starts from; none: its own."""
    if found := _MEMORY.fullmatch(name):
        projection, group, norm, kind = found.groups()
        layers = plan.memory if norm or not plan.pairs else plan.pairs[int(group)]
        part = "self_attn_layer_norm" if norm else f"self_attn.{projection}"
        return tuple(f"decoder.layers.{layer}.{part}.{kind}" for layer in layers)
    if name.startswith("decoder.memory.") or _DISTANCES.match(name):
        return ()
    if found := _LAYER.fullmatch(name):
        number, part = int(found[1]), found[2]
        known = _LAYER_PARTS.match(part)
        return (f"decoder.layers.{plan.layers[number]}.{part}",) if known else ()
    return (name,)


def transfer(
    theirs: Mapping[str, Tensor], ours: Iterable[tuple[str, Tensor]], plan: LayerPlan
) -> Report:
    """Overwrite our weights by those that `plan` takes from the Transformer's.

    Args:
        theirs: the Transformer's weights by name.
        ours: all names and weights of our model; a shared weight comes under each of its names.
        plan: which layers feed which.

    Raises:
        ValueError: where a weight is missing, has another shape, would be lost although we have no
            use for it, or is to become two things at once. Nothing was written then.
    """
    report, made = Report(), list[tuple[str, Tensor, Tensor]]()
    for name, weight in ours:
        names = origin(name, plan)
        if not names:
            report.initialised.append(name)
            continue
        made.append((name, weight, _average(names, theirs, name, weight)))
        if len(names) > 1:
            report.averaged[name] = names
        else:
            report.copied[name] = names[0]
    used = {*report.copied.values(), *(n for names in report.averaged.values() for n in names)}
    report.left_out = [name for name in theirs if name not in used]
    for name in report.left_out:
        _refuse_loss(name, plan)
    _refuse_contradictions(made)
    with torch.no_grad():
        for _, weight, value in made:
            weight.copy_(value)
    return report


def _average(
    names: tuple[str, ...], theirs: Mapping[str, Tensor], name: str, weight: Tensor
) -> Tensor:
    for their_name in names:
        if their_name not in theirs:
            raise ValueError(f"has no `{their_name}` for `{name}`")
        if theirs[their_name].shape != weight.shape:
            raise ValueError(
                f"has `{their_name}` of size {tuple(theirs[their_name].shape)} for `{name}` of size"
                f" {tuple(weight.shape)}"
            )
    if len(names) == 1:
        return theirs[names[0]]
    # in double precision: the average of equal numbers is that number
    return torch.stack([theirs[one].double() for one in names]).mean(dim=0)


def _refuse_loss(name: str, plan: LayerPlan) -> None:
    """Only whole layers that feed none of ours, keys, values and positions may stay unused."""
    found = _LAYER.fullmatch(name)
    layer_unused = found is not None and int(found[1]) not in plan.layers
    replaced = found is not None and re.match(r"self_attn(\.[kv]_proj|_layer_norm)\.", found[2])
    if not (layer_unused or replaced or _POSITIONS.match(name)):
        raise ValueError(f"has a weight `{name}`, for which there is no place in this model")


def _refuse_contradictions(made: list[tuple[str, Tensor, Tensor]]) -> None:
    """A weight that is shared here must not come from weights that differ there."""
    first: dict[int, tuple[str, Tensor]] = {}
    for name, weight, value in made:
        other_name, other = first.setdefault(weight.data_ptr(), (name, value))
        if not torch.equal(other, value):
            raise ValueError(
                f"does not share `{other_name}` and `{name}`, as this model does: they differ"
            )
