"""The settings in a checkpoint, in whatever form fairseq left them, as plain values.

fairseq-train leaves `cfg` as dictionaries, with an `argparse.Namespace` for each model without a
dataclass; fairseq-hydra-train as dictionaries alone; fairseq 1.0's alpha as omegaconf's objects;
fairseq 0.10 and older leave one flat `args`. This is the one reader of all of them.
"""

import argparse
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from ..ground.errors import UserError

#: More than any training of fairseq's writes down: some 700 values.
MOST_VALUES = 20_000
MOST_CHARACTERS = 4_000_000
DEEPEST = 20

#: Sections of `cfg` whose values an `args` holds side by side.
SECTIONS = ("common", "checkpoint", "task", "model", "criterion", "optimizer", "lr_scheduler",
            "generation", "dataset", "optimization")  # fmt: skip
#: What `args` calls the name of a section.
NAMES = {"model": "arch", "task": "task", "criterion": "criterion", "optimizer": "optimizer",
         "lr_scheduler": "lr_scheduler"}  # fmt: skip


class Unreadable(Exception):
    """What is wrong with the settings, as a half sentence."""


def plain(value: Any) -> Any:
    """Settings as dictionaries, lists, `Namespace` and plain values, whatever they were.

    Nothing of omegaconf's is called, since a file may hold objects that refer to themselves.

    Raises:
        Unreadable: for anything else, or without end.
    """
    return _Copy().of(value, 0)


class _Copy:
    """Copies settings and counts what it has copied."""

    def __init__(self) -> None:
        self.values = self.characters = 0

    def of(self, value: Any, depth: int) -> Any:
        """The copy of a value that lies `depth` values deep."""
        self.values += 1
        self.characters += len(value) if isinstance(value, str) else 0
        if self.values > MOST_VALUES or self.characters > MOST_CHARACTERS or depth > DEEPEST:
            raise Unreadable("are without end")
        value = _content(value)
        if value is None or isinstance(value, bool | int | float | str):
            return _checked(value)
        if isinstance(value, argparse.Namespace):
            return argparse.Namespace(**self.of(dict(vars(value)), depth))
        if isinstance(value, dict):
            if not all(isinstance(key, str | int) for key in value):
                raise Unreadable("have names that are no text")
            return {key: self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item, depth + 1) for item in value]
        if isinstance(value, set | frozenset):
            return sorted(self.of(item, depth + 1) for item in value)
        raise Unreadable(f"hold an object of the kind `{type(value).__name__}`")


def _content(value: Any) -> Any:
    """What an object of omegaconf's or numpy's holds; other values as they are."""
    if type(value).__module__.startswith("omegaconf."):
        _check_parents(value)
        held = vars(value)
        if "_content" in held:
            return held["_content"]
        return held.get("_val", value)
    if type(value).__module__ == "numpy" and hasattr(value, "item") and value.size == 1:
        return value.item()
    return value


def _check_parents(value: Any) -> None:
    """Refuse what lies in itself, on which omegaconf never ends."""
    for _ in range(DEEPEST + 2):
        value = getattr(value, "__dict__", {}).get("_parent")
        if value is None:
            return
    raise Unreadable("are without end")


def _checked(value: Any) -> Any:
    """A single value; a reference to another one may be no more than that."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        raise Unreadable("hold a number beyond 2^63")
    if isinstance(value, str) and "${" in value:
        inner = value.removeprefix("${").removesuffix("}")
        if value != f"${{{inner}}}" or not all(part.isidentifier() for part in inner.split(".")):
            raise Unreadable(f"hold the expression {value[:60]!r}")
    return value


def of(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of a loaded checkpoint's settings, each a dictionary of values.

    A section that the checkpoint does not have is empty. The name of its model, task, criterion and
    so on is always under `_name`.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    args = state.get("args")
    if args is not None:
        flat = as_dict(args)
        for section in SECTIONS:
            found[section] = dict(flat)
            if section in NAMES:
                found[section]["_name"] = flat.get(NAMES[section])
        return found
    for section, values in as_dict(state.get("cfg")).items():
        if isinstance(values, str):  # fairseq's way to name a tokenizer without settings
            values = {"_name": values}
        found[str(section)] = as_dict(values)
        if section in NAMES:
            found[section].setdefault("_name", found[section].get(NAMES[section]))
    return found


def as_dict(values: Any) -> dict[str, Any]:
    """A section, which may be a dictionary, a `Namespace` or nothing, as a dictionary."""
    if isinstance(values, argparse.Namespace):
        return dict(vars(values))
    return dict(values) if isinstance(values, dict | OrderedDict) else {}


def change(state: dict[str, Any], section: str, name: str, value: Any) -> None:
    """Set one value in a section of a loaded checkpoint's settings, whatever their form."""
    args = state.get("args")
    holder = args if args is not None else (state.get("cfg") or {}).get(section)
    if args is not None and name == "_name":
        name = NAMES[section]
    if isinstance(holder, argparse.Namespace):
        setattr(holder, name, value)
    elif isinstance(holder, dict):
        holder[name] = value
    else:
        raise UserError(f"the checkpoint has no settings of its {section}")


def texts(values: Any) -> Iterator[tuple[str, Any]]:
    """Every named value, at whatever depth."""
    if isinstance(values, list):
        for item in values:
            yield from texts(item)
        return
    for name, value in as_dict(values).items():
        yield str(name), value
        yield from texts(value)
