"""Store a model with weights in eight bits: ``memtx quantize MODEL.pt --out SMALL.pt``.

For decoding on a CPU, with ``--task memtx_translation``. What ``--memtx-int8`` does at each start
is done once, and the file is smaller; what the two translate is the same.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq_memtx import checkpoints
from fairseq_memtx.checkpoints.saving import save
from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers
from fairseq_memtx.ground.writing import check_output

logger = logging.getLogger(__name__)


def quantize(checkpoint: Path, out: Path, data: Path | None = None) -> None:
    """Round the linear layers of a checkpoint and write it.

    Args:
        checkpoint: of a translation model, ours or fairseq's.
        out: the new file.
        data: folder with the dictionaries; None for the one that the model was trained on.

    Raises:
        UserError: where a file is missing or unusable.
    """
    from fairseq_memtx.ground.errors import UserError as ModelError

    check_output(out, "--out", [checkpoint])
    state = checkpoints.load(checkpoint)
    check_task(state)
    try:
        weights = rounded_weights(checkpoint, data)
    except ModelError as error:
        raise UserError(str(error)) from error
    with command_line.writing(out), atomic_writers(out) as (file,):
        save(as_rounded(state, weights), file)
    before, after = (path.stat().st_size / 2**20 for path in (checkpoint, out))
    logger.info("%s: %.1f MiB, was %.1f MiB with its optimizer", out.name, after, before)


def rounded_weights(checkpoint: Path, data: Path | None) -> dict[str, Any]:
    """The model's weights after rounding."""
    from fairseq_memtx.modules.rounding import round_model
    from fairseq_memtx.translation.checkpoints import data_folder, load_models

    (model,), _, _ = load_models([checkpoint], data_folder(checkpoint, data))
    return round_model(model).state_dict()


def check_task(state: dict[str, Any]) -> None:
    """Refuse a checkpoint of another task than translation."""
    task = checkpoints.settings.of(state)["task"].get("_name")
    if task not in ("translation", "memtx_translation"):
        raise UserError(f"the model's task is {task}: only models for translation are quantised")


def as_rounded(state: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint with these weights, without what only training needs."""
    from fairseq_memtx.modules.rounding import ROUNDED

    checkpoints.settings.change(state, "task", "_name", "memtx_translation")
    checkpoints.settings.change(state, "model", ROUNDED, True)
    return {**state, "model": weights, "last_optimizer_state": None}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx quantize``."""
    parser = argparse.ArgumentParser(prog="memtx quantize", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("checkpoint", type=Path, help="a translation model")
    add("--out", type=Path, required=True, help="the checkpoint to write")
    add("--data", type=Path, help="folder of the binarised data (default: as in training)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx quantize``."""
    args = parse_args(argv)
    return command_line.run(lambda: quantize(args.checkpoint, args.out, args.data))
