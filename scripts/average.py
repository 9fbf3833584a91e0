"""Average checkpoints: ``python -m scripts.average --inputs DIR --last 5 --out averaged.pt``.

The average is taken in float64, of the last checkpoints (by updates) or of the best (by the
validation metric, in the direction in which training kept it). All must have the same parameters.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import UserError
from scripts import checkpoints, command_line
from scripts.checkpoints import Saved

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def choose_last(saved: Sequence[Saved], count: int) -> list[Saved]:
    """The ``count`` checkpoints with the most updates, oldest first."""
    distinct = {entry.updates: entry for entry in saved}
    return _exactly(sorted(distinct.values(), key=lambda entry: entry.updates)[-count:], count)


def choose_best(saved: Sequence[Saved], count: int) -> list[Saved]:
    """The ``count`` checkpoints with the best validation metric, best first."""
    distinct = {entry.updates: entry for entry in saved if entry.score is not None}
    higher = {entry.higher_is_better for entry in distinct.values()}
    if len(higher) > 1:
        raise UserError("the checkpoints must come from one training, but their metrics differ")
    ranked = sorted(distinct.values(), key=lambda entry: entry.score, reverse=higher == {True})  # type: ignore[arg-type, return-value]
    return _exactly(ranked[:count], count)


def _exactly(chosen: list[Saved], count: int) -> list[Saved]:
    if len(chosen) < count:
        raise UserError(f"{count} checkpoints must be averaged, but only {len(chosen)} were found")
    return chosen


def average_states(states: Sequence[dict]) -> dict[str, torch.Tensor]:
    """The mean of each parameter, in its own type, accumulated in float64.

    Tensors of integers (counters) are not averaged: the last state's are kept.
    Raises UserError when names or shapes differ.
    """
    first = states[0]
    for state in states[1:]:
        _check_alike(first, state)
    return {name: _mean([state[name] for state in states]) for name in first}


def _mean(tensors: list[torch.Tensor]) -> torch.Tensor:
    if not tensors[0].is_floating_point():
        return tensors[-1].clone()
    total = tensors[0].double().clone()
    for tensor in tensors[1:]:
        total += tensor.double()
    return (total / len(tensors)).to(tensors[0].dtype)


def _check_alike(first: dict, other: dict) -> None:
    if missing := sorted(first.keys() ^ other.keys()):
        raise UserError(
            f"checkpoints must have the same parameters, but `{missing[0]}` is in one only"
        )
    for name, tensor in first.items():
        if tensor.shape != other[name].shape:
            shapes = f"{tuple(tensor.shape)} and {tuple(other[name].shape)}"
            raise UserError(f"parameter `{name}` must have one shape, but has {shapes}")


def average_files(paths: Sequence[Path], out: Path) -> None:
    """Write the average of ``paths`` to ``out``, with the last one's settings and no optimizer."""
    import torch

    states = [checkpoints.load(path) for path in paths]
    averaged = {**states[-1], "model": average_states([state["model"] for state in states])}
    averaged["last_optimizer_state"] = None
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".tmp")
    try:
        torch.save(averaged, temporary)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


def average(inputs: Sequence[Path], out: Path, last: int = 0, best: int = 0) -> dict:
    """Choose among ``inputs`` (files, or one folder) and write the average; say what was chosen."""
    folder = len(inputs) == 1 and inputs[0].is_dir()
    paths = checkpoints.saved_in(inputs[0]) if folder else list(inputs)
    saved = [checkpoints.describe(path, checkpoints.load(path)) for path in paths]
    if last:
        saved = choose_last(saved, last)
    elif best:
        saved = choose_best(saved, best)
    if not saved:
        raise UserError(f"`{inputs[0]}` must hold checkpoints of fairseq-train, but holds none")
    average_files([entry.path for entry in saved], out)
    names = [entry.path.name for entry in saved]
    logger.info("%s is the average of %d: %s", out.name, len(names), ", ".join(names))
    return {
        "checkpoints": names,
        "updates": [entry.updates for entry in saved],
        "scores": [entry.score for entry in saved],
        "training_seconds": round(max(entry.training_seconds for entry in saved), 1),
    }


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.average``."""
    parser = argparse.ArgumentParser(prog="scripts.average", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--inputs", nargs="+", type=Path, required=True, help="checkpoint files, or their folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="the averaged checkpoint to write")
    number = command_line.positive_int
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", type=number, default=0, help="average the last N, by updates")
    which.add_argument("--best", type=number, default=0, help="average the best N, by their metric")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.average``."""
    args = parse_args(argv)
    return command_line.run(lambda: average(args.inputs, args.out, args.last, args.best))


if __name__ == "__main__":
    raise SystemExit(main())
