"""On start, replaces a `checkpoint_last.pt` that was cut short by the newest whole checkpoint.

Stock fairseq, or a full disk, can leave half a file there, and then no start works until somebody
removes it by hand. May go once fairseq looks for a whole checkpoint itself.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..ground.errors import UserError
from ..repairs.unusable_checkpoints import is_cut_short
from ..repairs.wrapping import wrap

logger = logging.getLogger(__name__)

_CHECKPOINT_NAME = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)\.pt")


def apply() -> None:
    """Wrap what loads a training's own checkpoint."""
    from fairseq import checkpoint_utils

    wrap(checkpoint_utils, "load_checkpoint", _load_newest_whole)


def _load_newest_whole(stock: Callable[..., Any], cfg: Any, trainer: Any, **kwargs: Any) -> Any:
    import torch

    # Sharded states have a suffix; shards from different updates must not be mixed.
    if cfg.restore_file == "checkpoint_last.pt" and not trainer.checkpoint_suffix:
        if trainer.data_parallel_rank == 0:
            replace_cut_short_last(Path(cfg.save_dir))
        if trainer.data_parallel_world_size > 1:
            torch.distributed.barrier(trainer.data_parallel_process_group)
    return stock(cfg, trainer, **kwargs)


def replace_cut_short_last(save_dir: Path) -> None:
    """Put the newest whole checkpoint in the place of a `checkpoint_last.pt` that was cut short.

    The cut one is kept as `checkpoint_last.pt.damaged`.

    Raises:
        UserError: where the folder holds no whole checkpoint of this training.
    """
    from fairseq.file_io import PathManager

    last = save_dir / "checkpoint_last.pt"
    if not last.is_file() or not is_cut_short(last):
        return
    spares = [path for path in save_dir.iterdir() if _CHECKPOINT_NAME.fullmatch(path.name)]
    whole = [path for path in spares if not is_cut_short(path)]
    if not whole:
        raise UserError(
            f"`{last}` is cut short, and there is no other checkpoint to go on from: remove it to"
            " start training anew"
        )
    updates, spare = max((_num_updates(path), path) for path in whole)
    damaged = last.with_name(last.name + ".damaged")
    PathManager.copy(str(last), str(damaged), overwrite=True)
    PathManager.copy(str(spare), str(last), overwrite=True)
    logger.warning(
        "%s is cut short (kept as %s): going on from %s, update %d", last, damaged, spare, updates
    )


def _num_updates(path: Path) -> int:
    import torch

    state = torch.load(path, map_location="cpu", mmap=True)
    return state["optimizer_history"][-1]["num_updates"]
