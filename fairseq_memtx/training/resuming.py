"""On start, goes on from the newest whole checkpoint; does nothing where nothing is left to do.

Stock fairseq begins anew, without a word, where `checkpoint_last.pt` is missing or `--restore-file`
names no file; where half a file lies there, no start works until somebody removes it by hand; and a
training that has reached `--max-update` makes one update more at each start. May go once fairseq
looks for a whole checkpoint, and at its limits, itself.
"""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import checkpoints
from ..checkpoints import archive
from ..ground.errors import UserError
from ..repairs.wrapping import wrap

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"
_CHECKPOINT_NAME = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)\.pt")

#: Of `max_epoch`: before the first one, so that fairseq's loop over epochs is left out.
NO_EPOCH = -1


def apply() -> None:
    """Wrap what loads a training's own checkpoint."""
    from fairseq import checkpoint_utils

    wrap(checkpoint_utils, "load_checkpoint", _load_newest_whole)


def _load_newest_whole(stock: Callable[..., Any], cfg: Any, trainer: Any, **kwargs: Any) -> Any:
    import torch

    # Sharded states have a suffix; shards from different updates must not be mixed.
    if not trainer.checkpoint_suffix:
        if trainer.data_parallel_rank == 0:
            check_start(cfg)
        if trainer.data_parallel_world_size > 1:
            torch.distributed.barrier(trainer.data_parallel_process_group)
    loaded = stock(cfg, trainer, **kwargs)
    end_at_limit(trainer)
    return loaded


def check_start(cfg: Any) -> None:
    """See to it that a training starts where its flags say, and not from nothing.

    Args:
        cfg: fairseq's options of checkpoints.

    Raises:
        UserError: where a flag names no file, or the folder holds no whole checkpoint.
    """
    if cfg.restore_file != LAST:
        if cfg.finetune_from_model:
            raise UserError("only one of --restore-file and --finetune-from-model can be the start")
        _check_named("--restore-file", cfg.restore_file)
        return
    restore_last(Path(cfg.save_dir))
    if os.path.exists(os.path.join(cfg.save_dir, LAST)):
        return
    for name in ("continue_once", "finetune_from_model"):
        if getattr(cfg, name, None):
            _check_named("--" + name.replace("_", "-"), getattr(cfg, name))


def _check_named(flag: str, path: str) -> None:
    from fairseq.file_io import PathManager

    if PathManager.path_requires_pathmanager(path):
        return
    if not os.path.isfile(path):
        raise UserError(f"there is no file `{path}`: {flag} has to be a checkpoint")


def restore_last(save_dir: Path) -> None:
    """Put the newest whole checkpoint in the place of a `checkpoint_last.pt` that is none.

    A damaged one is kept as `checkpoint_last.pt.damaged`. Nothing happens in a folder without
    checkpoints.

    Raises:
        UserError: where the folder holds no whole checkpoint of this training.
    """
    from fairseq.file_io import PathManager

    last = save_dir / LAST
    problem = _problem(last)
    spares = [] if problem is None else _spares(save_dir)
    if problem is None or (not spares and not os.path.lexists(last)):
        return
    if last.is_dir():
        raise UserError(f"`{last}` is a folder, not a checkpoint: move it away")
    whole = [(updates, path) for path in spares if (updates := _updates(path)) is not None]
    if not whole:
        raise UserError(
            f"`{last}` {problem}, and there is no other checkpoint to go on from: remove"
            f" {'it' if os.path.lexists(last) else 'what is left of them'} to start training anew"
        )
    updates, spare = max(whole)
    kept = ""
    if last.is_file():
        damaged = last.with_name(last.name + ".damaged")
        PathManager.copy(str(last), str(damaged), overwrite=True)
        kept = f" (kept as {damaged})"
    PathManager.copy(str(spare), str(last), overwrite=True)
    logger.warning("%s %s%s: going on from %s, update %d", last, problem, kept, spare, updates)


def _problem(last: Path) -> str | None:
    """What keeps a file from being the last checkpoint; None where it is one.

    Raises:
        UserError: where it is whole, but must not be loaded, or cannot be read.
    """
    if not last.is_file():
        return "is no file" if os.path.lexists(last) else "is missing"
    with archive.open_checkpoint(last) as stream:
        try:
            archive.check(stream, last)
        except archive.Damaged:
            return "is cut short or damaged"
    return None


def _spares(save_dir: Path) -> list[Path]:
    if not save_dir.is_dir():
        return []
    return [path for path in save_dir.iterdir() if _CHECKPOINT_NAME.fullmatch(path.name)]


def _updates(path: Path) -> int | None:
    """Updates of a checkpoint; None where it cannot be used."""
    try:
        return checkpoints.describe(path, checkpoints.load(path)).updates
    except UserError as error:
        logger.warning("%s", error)
        return None


def end_at_limit(trainer: Any) -> None:
    """Let fairseq train no more where the training has reached its limit already."""
    limits = trainer.cfg.optimization
    updates, hours = trainer.get_num_updates(), trainer.cumulative_training_time() / 3600
    if limits.max_update and updates >= limits.max_update:
        logger.info("nothing is left to train: %d updates are made", updates)
    elif 0 < limits.stop_time_hours < hours:
        logger.info("nothing is left to train: it has taken %.1f hours", hours)
    else:
        return
    limits.max_epoch = NO_EPOCH
