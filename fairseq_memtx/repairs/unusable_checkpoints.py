"""Loads checkpoints as `fairseq_memtx.checkpoints` does, and says in one line what is wrong.

Stock: whatever the file names is built, at any size, and its damage is read as numbers; what cannot
be read ends in a traceback with miniz's internals, `[Errno 22]` or the advice to switch safe
loading off. May go once fairseq checks what it loads, and its messages name the file and what to
do.
"""

import os
from collections.abc import Callable
from typing import Any

from .. import checkpoints
from ..checkpoints import archive, settings, trusted, weights
from ..ground.errors import UserError
from .wrapping import put, wrap


def apply() -> None:
    """Wrap what loads checkpoints: the file, models for decoding, a training's state."""
    from fairseq import checkpoint_utils
    from fairseq.trainer import Trainer

    if not isinstance(checkpoint_utils.torch, _TorchThatChecks):
        put(checkpoint_utils, "torch", _TorchThatChecks())
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", _load_file)
    wrap(checkpoint_utils, "load_model_ensemble_and_task", _load_models)
    wrap(Trainer, "load_checkpoint", _load_training)


class _TorchThatChecks:
    """torch, whose `load` reads only checkpoints, and with care."""

    def load(self, stream: Any, **how: Any) -> dict[str, Any]:
        """The checkpoint in an open file, read as data (`checkpoints.read`)."""
        return checkpoints.read(stream, stream.name)

    def __getattr__(self, name: str) -> Any:
        import torch

        return getattr(torch, name)


def _load_file(stock: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return stock(path, *args, **kwargs)
    except UserError:
        raise
    except OSError as error:
        archive.open_checkpoint(path).close()
        raise UserError(f"checkpoint `{path}` cannot be read: {error.strerror}") from error
    except Exception as error:  # whatever fairseq and omegaconf make of settings that do not fit
        raise UserError(checkpoints.refusal(path, error)) from error


def _load_models(
    stock: Callable[..., Any],
    filenames: list[str],
    arg_overrides: Any = None,
    task: Any = None,
    strict: bool = True,
    suffix: str = "",
    num_shards: int = 1,
    state: Any = None,
) -> Any:
    if state is not None or suffix or num_shards > 1:
        return _load_one(stock, filenames, arg_overrides, task, strict, suffix, num_shards, state)
    models, cfg = [], None
    for path in filenames:
        (model,), cfg, task = _load_checked(stock, path, arg_overrides, task, strict)
        models.append(model)
    return models, cfg, task


def _load_checked(
    stock: Callable[..., Any], path: str, arg_overrides: Any, task: Any, strict: bool
) -> Any:
    """One model, once its size and its weights are known to be right."""
    from fairseq import checkpoint_utils

    from ..checkpoints import sizes  # late, since it needs torch
    from ..training.data_of_checkpoints import remember

    shard = checkpoint_utils.get_maybe_sharded_checkpoint_filename(path, "", 0, 1)
    if not os.path.exists(shard):
        raise UserError(f"there is no checkpoint `{shard}`: check the path")
    with trusted.allowing(names_of(task)):
        state = checkpoint_utils.load_checkpoint_to_cpu(shard, arg_overrides)
    for section in ("model",) if task is not None else ("model", "task"):
        if not settings.of({"cfg": settings.plain(state["cfg"])})[section]:
            raise UserError(f"checkpoint `{shard}` has no settings of its {section}")
    weights.check_finite(state["model"], shard)
    if task is None:
        task = _set_up(state, shard)
    check_kind(state, task, shard)
    remember(task, state, shard)
    with sizes.bounded(state, shard):
        return _load_one(stock, [path], arg_overrides, task, strict, "", 1, state)


def _set_up(state: dict[str, Any], path: str) -> Any:
    """The task that a checkpoint names, with its dictionaries."""
    from fairseq import tasks

    try:
        return tasks.setup_task(state["cfg"].task, from_checkpoint=True)
    except UserError:
        raise
    except Exception as error:  # dictionaries that are missing or damaged, settings that do not fit
        reason = str(error).split("\n")[0]
        raise UserError(
            f"the task of `{path}` cannot be set up: {type(error).__name__}: {reason}"
        ) from error


def check_kind(state: dict[str, Any], task: Any, path: str) -> None:
    """Refuse weights in eight bits for a task that knows of none."""
    from ..tasks.translation import MemtxTranslationTask

    if checkpoints.is_int8(state) and not isinstance(task, MemtxTranslationTask):
        raise UserError(
            f"`{path}` has its weights in eight bits, which only --task memtx_translation reads:"
            " add that flag"
        )


def _load_one(stock: Callable[..., Any], filenames: list[str], *args: Any) -> Any:
    try:
        return stock(filenames, *args)
    except OSError as error:
        if "Model file not found" not in str(error):
            raise
        missing = str(error).rpartition(": ")[2]
        raise UserError(f"there is no checkpoint `{missing}`: check the path") from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise UserError(_explain_mismatch(", ".join(filenames), error)) from error


def names_of(task: Any) -> frozenset[str]:
    """The names under which a task is registered, which the user has chosen."""
    from fairseq.tasks import TASK_REGISTRY

    return frozenset(name for name, kind in TASK_REGISTRY.items() if type(task) is kind)


def _load_training(
    stock: Callable[..., Any], trainer: Any, filename: str, *args: Any, **kwargs: Any
) -> Any:
    with trusted.allowing(trusted.names_in(trainer.cfg)):
        try:
            return stock(trainer, filename, *args, **kwargs)
        except Exception as error:
            if not str(error).startswith("Cannot load model parameters"):
                raise
            raise UserError(_explain_mismatch(filename, error.__context__)) from error


def _explain_mismatch(path: str, error: BaseException | None) -> str:
    problems = [line.strip() for line in str(error).split("\n")[1:] if line.strip()]
    first = problems[0].rstrip(".") if problems else str(error)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return (
        f"`{path}` does not fit the model that was asked for: {first}{more}. Use the dictionaries,"
        " --arch and sizes it was trained with, or another --save-dir to start anew; `memtx adapt`"
        " gives a model other dictionaries."
    )
