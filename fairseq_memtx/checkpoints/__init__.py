"""Finding, checking and loading fairseq's checkpoints, safely: a file holds values, and no more.

- `archive`: the file is whole, its checksums are right, nothing in it is larger than it;
- `pickles`: reading it calls nothing but what rebuilds tensors, arrays and settings;
- `settings`: its settings in all their forms, as plain values;
- `trusted`: it names only architectures, tasks and so on that a file may choose;
- `weights`: as many as the file holds, and finite;
- `saving`: writing one, where an error says what happened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..ground.errors import UserError
from . import archive, settings, trusted, weights

#: Saved at the end of an epoch, in the middle of one, among the best, or at the very end.
_SAVED = re.compile(r"^checkpoint(\d+|_\d+_\d+|\.best_.+|_last)\.pt$")


@dataclass(frozen=True)
class Saved:
    """What a checkpoint says of itself. ``score`` is the validation metric, None if not taken."""

    path: Path
    updates: int
    score: float | None
    higher_is_better: bool
    training_seconds: float


def saved_in(folder: Path) -> list[Path]:
    """Checkpoints that fairseq-train left in ``folder``; some may be copies of others."""
    if not folder.is_dir():
        raise UserError(f"`{folder}` is not a folder: name the one that holds the checkpoints")
    return sorted(path for path in folder.iterdir() if _SAVED.match(path.name))


def load(path: Path) -> dict[str, Any]:
    """The checkpoint as a dictionary, tensors mapped from the file rather than read.

    Its settings are plain values, see `settings`.

    Raises:
        UserError: no such file, cut short, damaged, not a checkpoint, or with contents that are not
            allowed; the message says what to do.
    """
    with archive.open_checkpoint(path) as stream:
        return read(stream, path, mapped=True)


def read(stream: BinaryIO, path: str | os.PathLike[str], mapped: bool = False) -> dict[str, Any]:
    """The checkpoint in an open file, checked before and after it is read.

    Args:
        stream: at its start.
        path: of the file.
        mapped: map the tensors from the file, where its form allows that, rather than read them.

    Raises:
        UserError: see `load`.
    """
    import torch

    from fairseq_memtx import plugin  # noqa: F401  (says what a checkpoint may hold)

    archive.check(stream, path)
    mapped = mapped and stream.read(len(archive.ZIP)) == archive.ZIP
    stream.seek(0)
    source = str(path) if mapped else stream
    try:
        state = torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch has many
        raise UserError(refusal(path, error)) from error
    return checked(state, path)


def refusal(path: str | os.PathLike[str], error: BaseException) -> str:
    """Why torch did not load a file, and what to do, in one line."""
    if "Weights only load failed" not in str(error):
        reason = str(error).split("\n")[0]
        return f"checkpoint `{path}` cannot be loaded: {type(error).__name__}: {reason}"
    named = re.search(r"GLOBAL (\S+)|got <class '(\S+)'>", str(error))
    what = f"`{named[1] or named[2]}`" if named else "an object of an unknown kind"
    return (
        f"`{path}` was not loaded: it holds {what}, which is not on the list of what is safe to "
        "load. No checkpoint of fairseq needs it: get the file from a source you trust."
    )


def checked(state: Any, path: str | os.PathLike[str]) -> dict[str, Any]:
    """What torch has read, once it is known to be a checkpoint of fairseq's.

    Its settings are made plain; embeddings that were read from a file when the model was made are
    its own weights now.

    Raises:
        UserError: where it is none, or names what no file may choose.
    """
    from . import sizes  # late, since it needs torch

    if not isinstance(state, dict) or not isinstance(state.get("model"), Mapping):
        raise UserError(f"`{path}` is not a checkpoint of fairseq's: it holds no model")
    _check_history(state, path)
    weights.check_sizes(state, path)
    try:
        for name in ("cfg", "args"):
            if state.get(name) is not None:
                state[name] = settings.plain(state[name])
    except settings.Unreadable as error:
        raise UserError(f"`{path}` was not loaded: its settings {error}") from error
    trusted.check(state, path)
    sizes.check_settings(state, path)
    for name in ("encoder_embed_path", "decoder_embed_path"):
        if settings.of(state)["model"].get(name):
            settings.change(state, "model", name, None)
    return state


def _check_history(state: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """What a training left beside the weights has its form, as far as it is there."""
    history = state.get("optimizer_history", [{}])
    entries = history if isinstance(history, list) and history else [None]
    updates = [entry.get("num_updates", 0) for entry in entries if isinstance(entry, dict)]
    right = isinstance(state.get("extra_state") or {}, dict) and len(updates) == len(entries)
    if not right or not all(type(count) is int and 0 <= count < 2**63 for count in updates):
        raise UserError(f"`{path}` is not a checkpoint of fairseq's: it tells of no training")


def is_int8(state: Mapping[str, Any]) -> bool:
    """Whether a loaded checkpoint's weights are in eight bits, as `memtx quantize` stores them."""
    return any(name.endswith(".weight_int8") for name in state["model"])


def describe(path: Path, state: dict[str, Any]) -> Saved:
    """Read updates, validation metric and its direction from a loaded checkpoint."""
    history = state.get("optimizer_history") or [{}]
    extra = state.get("extra_state") or {}
    config = settings.of(state)["checkpoint"]
    try:
        score = extra.get("val_loss")
        return Saved(
            path=path,
            updates=int(history[-1].get("num_updates", 0)),
            score=None if score is None else float(score),
            higher_is_better=bool(config.get("maximize_best_checkpoint_metric", False)),
            training_seconds=float(extra.get("previous_training_time", 0.0)),
        )
    except (TypeError, ValueError) as error:
        raise UserError(
            f"`{path}` is not a checkpoint of fairseq's: it tells of no training ({error})"
        ) from error
