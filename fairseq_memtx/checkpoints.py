"""Finding, checking and loading fairseq's checkpoints, safely: no code in a file is ever run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fairseq_memtx.ground.errors import UserError

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
        raise UserError(f"`{folder}` must be a folder of checkpoints, but there is none")
    return sorted(path for path in folder.iterdir() if _SAVED.match(path.name))


def load(path: Path) -> dict:
    """The checkpoint as a dictionary, tensors mapped from the file rather than read.

    Raises:
        UserError: no such file, cut short, not a checkpoint, or with contents that are not allowed.
    """
    import torch

    from fairseq_memtx import plugin  # noqa: F401  (says what a checkpoint may hold)
    from fairseq_memtx.repairs.unusable_checkpoints import is_cut_short

    if not path.is_file():
        raise UserError(f"checkpoint `{path}` must be a file, but there is none")
    if is_cut_short(path):
        raise UserError(f"checkpoint `{path}` must be whole, but is cut short or damaged")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"checkpoint `{path}` cannot be loaded: {reason}") from error
    if not isinstance(state, dict) or "model" not in state:
        raise UserError(f"checkpoint `{path}` must be one of fairseq's, but holds no model")
    return state


def describe(path: Path, state: dict) -> Saved:
    """Read updates, validation metric and its direction from a loaded checkpoint."""
    history = state.get("optimizer_history") or [{}]
    extra = state.get("extra_state") or {}
    config = (state.get("cfg") or {}).get("checkpoint") or {}
    return Saved(
        path=path,
        updates=int(history[-1].get("num_updates", 0)),
        score=extra.get("val_loss"),
        higher_is_better=bool(config.get("maximize_best_checkpoint_metric", False)),
        training_seconds=float(extra.get("previous_training_time", 0.0)),
    )
