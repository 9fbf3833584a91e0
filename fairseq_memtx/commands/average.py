"""Average checkpoints: ``memtx average --last 5 --out averaged.pt DIR``.

The average is taken in float64, of the last checkpoints (by updates) or of the best (by the
validation metric, in the direction in which training kept it). All must have the same parameters.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx import checkpoints
from fairseq_memtx.checkpoints import Saved
from fairseq_memtx.checkpoints.saving import save
from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers
from fairseq_memtx.ground.writing import check_output

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def choose_last(saved: Sequence[Saved], count: int) -> list[Saved]:
    """The ``count`` checkpoints with the most updates, oldest first."""
    return sorted(distinct(saved), key=lambda entry: entry.updates)[-count:]


def choose_best(saved: Sequence[Saved], count: int) -> list[Saved]:
    """The ``count`` checkpoints with the best validation metric, best first."""
    scored = [(entry.score, entry) for entry in distinct(saved) if entry.score is not None]
    higher = {entry.higher_is_better for _, entry in scored}
    if len(higher) > 1:
        raise UserError("the checkpoints are not of one training: their metrics differ")
    ranked = sorted(scored, key=lambda pair: pair[0], reverse=higher == {True})
    return [entry for _, entry in ranked[:count]]


def distinct(saved: Sequence[Saved]) -> list[Saved]:
    """One checkpoint for each number of updates: fairseq keeps copies under other names."""
    return list({entry.updates: entry for entry in reversed(saved)}.values())


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
            f"the checkpoints differ in their parameters: `{missing[0]}` is in one only"
        )
    for name, tensor in first.items():
        if tensor.shape != other[name].shape:
            shapes = f"{tuple(tensor.shape)} and {tuple(other[name].shape)}"
            raise UserError(f"the checkpoints differ in the shape of `{name}`: {shapes}")


def average_files(paths: Sequence[Path], out: Path) -> None:
    """Write the average of ``paths`` to ``out``, with the last one's settings and no optimizer."""
    states = [load_float(path) for path in paths]
    averaged = {**states[-1], "model": average_states([state["model"] for state in states])}
    averaged["last_optimizer_state"] = None
    with atomic_writers(out) as (file,):
        save(averaged, file)


def load_float(path: Path) -> dict:
    """The checkpoint of a model in float, whose weights are numbers.

    Raises:
        UserError: where it is none.
    """
    from fairseq_memtx.checkpoints.weights import check_finite

    state = checkpoints.load(path)
    if checkpoints.is_int8(state):
        raise UserError(
            f"`{path}` has its weights in eight bits, which have no average: average the"
            " checkpoints that they were made of, then `memtx quantize` the result"
        )
    check_finite(state["model"], path)
    return state


def average(
    inputs: Sequence[Path], out: Path, last: int = 0, best: int = 0, fewer: bool = False
) -> dict:
    """Choose among ``inputs`` (files, or one folder) and write the average; say what was chosen.

    With ``fewer``, an average of less than ``last`` or ``best`` checkpoints is no error.
    """
    folder = len(inputs) == 1 and inputs[0].is_dir()
    if folder and not (last or best):
        raise UserError(
            f"`{inputs[0]}` is a folder: say by `--last` or `--best` how many of its checkpoints to"
            " average"
        )
    paths = checkpoints.saved_in(inputs[0]) if folder else list(inputs)
    check_output(out, "--out", paths)
    saved = [checkpoints.describe(path, checkpoints.load(path)) for path in paths]
    if last or best:
        saved = choose_last(saved, last) if last else choose_best(saved, best)
    wanted = 1 if fewer else last or best or 1
    if len(saved) < wanted:
        raise UserError(f"there are {len(saved)} checkpoints to average instead of {wanted}")
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
    """Flags of ``memtx average``."""
    parser = argparse.ArgumentParser(prog="memtx average", description=__doc__.split("\n")[0])
    parser.add_argument("inputs", nargs="+", type=Path, help="checkpoint files, or their folder")
    parser.add_argument("--out", type=Path, required=True, help="the averaged checkpoint to write")
    number = command_line.positive_int
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", type=number, default=0, help="average the last N, by updates")
    which.add_argument("--best", type=number, default=0, help="average the best N, by their metric")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx average``."""
    args = parse_args(argv)
    return command_line.run(lambda: average(args.inputs, args.out, args.last, args.best))
