"""`model.safetensors` of a model's folder: its header is checked before a number is read."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..ground.errors import UserError

#: Bytes of the header; that of a thousand layers has fewer.
MOST_HEADER = 2**24
TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "I8": torch.int8}


def check_header(path: Path, expected: Mapping[str, Tensor], precision: str) -> None:
    """Refuse a file that holds other weights than the model has.

    Args:
        path: it.
        expected: the model's weights by name, of which shapes and types are looked at.
        precision: of the file, see `config`.

    Raises:
        UserError: at the first difference; nothing of the sizes that the file tells is made.
    """
    header = _header(path)
    missing, unknown = sorted(set(expected) - set(header)), sorted(set(header) - set(expected))
    if missing or unknown:
        what = f"lacks `{missing[0]}`" if missing else f"has `{unknown[0][:80]}`, which is unknown"
        raise UserError(f"`{path}` {what}: it belongs to another model than its configuration")
    for name, weight in expected.items():
        told, wanted = header[name], kept_type(weight, precision)
        found = told.get("shape"), TYPES.get(str(told.get("dtype")))
        if found != (list(weight.shape), wanted):
            raise UserError(
                f"`{path}` has `{name}` as {str(told.get('dtype'))[:10]}"
                f" {str(told.get('shape'))[:60]}: by its configuration the model has"
                f" {str(wanted).removeprefix('torch.')} {list(weight.shape)}"
            )


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """What the file says it holds.

    Raises:
        UserError: where it is cut short or damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, MOST_HEADER):
            raise UserError(f"`{path}` is no whole safetensors file: copy it again")
        try:
            header = json.loads(file.read(length))
            entries = {name: told for name, told in header.items() if name != "__metadata__"}
            ends = [told["data_offsets"][1] for told in entries.values()]
        except (ValueError, RecursionError, AttributeError, LookupError, TypeError) as error:
            raise UserError(f"the header of `{path}` is damaged: copy it again") from error
    if not all(isinstance(end, int) for end in ends) or 8 + length + max(ends, default=0) != size:
        raise UserError(
            f"`{path}` has {size:,} bytes, but its header tells of others: copy it again"
        )
    return entries


def kept_type(weight: Tensor, precision: str) -> torch.dtype:
    """The type that a weight is stored in."""
    is_float = weight.dtype == torch.float32
    return torch.bfloat16 if is_float and precision == "bfloat16" else weight.dtype


def read_weights(path: Path) -> dict[str, Tensor]:
    """All weights of a file that has been checked; floats come in float32.

    Raises:
        UserError: where it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"`{path}` cannot be read: {reason}: copy it again") from None
    return {name: x.float() if x.is_floating_point() else x for name, x in found.items()}


def as_bytes(weights: Mapping[str, Tensor], precision: str) -> bytes:
    """A file's content."""
    from safetensors.torch import save

    kept = {name: x.to(kept_type(x, precision)).contiguous() for name, x in weights.items()}
    return save(kept, metadata={"format": "pt"})


def shared(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """For each weight that is another one too, the name of the first of them."""
    first: dict[tuple, str] = {}
    found = {}
    for name, weight in weights.items():
        place = weight.data_ptr(), tuple(weight.shape), weight.dtype
        if weight.numel() > 0 and first.setdefault(place, name) != name:
            found[name] = first[place]
    return found
