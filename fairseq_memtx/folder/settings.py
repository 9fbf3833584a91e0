"""fairseq's settings of a checkpoint in JSON, for the way back."""

import argparse
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ..checkpoints.settings import Unreadable, plain

#: Marks what was a `Namespace`.
NAMESPACE = "$namespace"
#: Of `extra_state`: what tells where a training stood, and which words it had.
KEPT = ("train_iterator", "val_loss", "best", "memtx_data")


def settings_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint has beside its weights and its optimizer's numbers.

    Absolute paths, which tell of the machine that it was trained on, are cut to their last name.
    """
    extra = state.get("extra_state") or {}
    kept = {name: extra[name] for name in KEPT if name in extra}
    told = {
        "cfg": state.get("cfg"),
        "args": state.get("args"),
        "optimizer_history": state.get("optimizer_history") or [],
        "extra_state": kept,
    }
    return {name: _encoded(plain(value)) for name, value in told.items() if value is not None}


def as_state(told: Mapping[str, Any]) -> dict[str, Any]:
    """What of a checkpoint `settings_of` has kept.

    Raises:
        ValueError: for anything else.
    """
    known = {"cfg", "args", "optimizer_history", "extra_state"}
    if not set(told) <= known or not {"optimizer_history", "extra_state"} <= set(told):
        raise ValueError("settings has other parts than those of a checkpoint")
    if ("cfg" in told) == ("args" in told):
        raise ValueError("settings has to have cfg or args")
    try:
        found = plain({name: _decoded(value) for name, value in told.items()})
    except (Unreadable, RecursionError) as error:
        raise ValueError(f"the settings {error}") from None
    return {"args": None, "cfg": None, **found}


def _encoded(value: Any) -> Any:
    if isinstance(value, argparse.Namespace):
        return {NAMESPACE: _encoded(vars(value))}
    if isinstance(value, dict):
        return {str(name): _encoded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, str) and value.startswith(("/", "~")):
        return PurePath(value).name
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {NAMESPACE}:
        inner = _decoded(value[NAMESPACE])
        if not isinstance(inner, dict):
            raise ValueError("settings has a namespace that is none")
        return argparse.Namespace(**inner)
    if isinstance(value, dict):
        return {name: _decoded(item) for name, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value
