"""Lets `--patience` count on where a training was interrupted; what has stopped stays stopped.

fairseq counts the validations without a better loss on a function of its own and saves nothing of
it: each start begins anew, so that a training that is interrupted stops later or never. May go once
fairseq saves the count.
"""

import logging
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ..repairs.wrapping import wrap

logger = logging.getLogger(__name__)

#: Where the count is in a checkpoint's `extra_state`.
KEY = "memtx_patience"
#: Where the function may be: the command is run as a module, by a child process, or imported.
_MODULES = ("__main__", "__mp_main__", "fairseq_cli.train")


def apply() -> None:
    """Wrap what saves and what loads the state of a training."""
    from fairseq.trainer import Trainer

    wrap(Trainer, "save_checkpoint", _save_with_count)
    wrap(Trainer, "load_checkpoint", _load_with_count)


def counters() -> Iterator[Callable[..., bool]]:
    """fairseq's function that counts, in each module of this process that has it."""
    for name in _MODULES:
        function = getattr(sys.modules.get(name), "should_stop_early", None)
        if function is not None:
            yield function


def read_count() -> dict[str, Any]:
    """The best loss and the validations since; empty before the first validation."""
    for function in counters():
        if hasattr(function, "best"):
            return {"best": function.best, "num_runs": function.num_runs}  # type: ignore[attr-defined]
    return {}


def set_count(count: dict[str, Any]) -> None:
    """Go on from a count; an empty one begins anew, also after another training of this process."""
    for function in counters():
        for name in ("best", "num_runs"):
            if name in count:
                setattr(function, name, count[name])
            elif hasattr(function, name):
                delattr(function, name)


def _save_with_count(
    stock: Callable[..., Any], trainer: Any, filename: str, extra_state: dict[str, Any]
) -> Any:
    return stock(trainer, filename, {**extra_state, KEY: read_count()})


def _load_with_count(
    stock: Callable[..., Any],
    trainer: Any,
    filename: str,
    reset_optimizer: bool = False,
    reset_lr_scheduler: bool = False,
    optimizer_overrides: dict[str, Any] | None = None,
    reset_meters: bool = False,
) -> Any:
    resets = reset_optimizer, reset_lr_scheduler, optimizer_overrides, reset_meters
    extra_state = stock(trainer, filename, *resets)
    # As fairseq treats its best loss: another training's is not ours to beat.
    is_ours = extra_state is not None and not reset_optimizer and not reset_meters
    count = extra_state.get(KEY, {}) if is_ours else {}
    set_count(count)
    patience = trainer.cfg.checkpoint.patience
    if 0 < patience <= count.get("num_runs", 0):
        logger.info(
            "this training has stopped before: its validation loss was not better for %d"
            " validations (--patience %d)", count["num_runs"], patience,
        )  # fmt: skip
        # fairseq looks at this before each epoch.
        trainer.cfg.optimization.stop_min_lr = math.inf
    return extra_state
