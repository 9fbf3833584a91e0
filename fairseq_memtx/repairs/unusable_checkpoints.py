"""Turns what fairseq says of a missing, truncated, unsafe or unfitting checkpoint into one line.

Stock: a traceback that ends in miniz's internals, `[Errno 22]` or the advice to switch safe loading
off. May go once fairseq's messages name the file and what to do.
"""

import os
import re
import zipfile
from collections.abc import Callable
from typing import Any

from ..ground.errors import UserError
from .wrapping import wrap


def apply() -> None:
    """Wrap what loads checkpoints: the file, models for decoding, a training's state."""
    from fairseq import checkpoint_utils
    from fairseq.trainer import Trainer

    wrap(checkpoint_utils, "load_checkpoint_to_cpu", _load_file)
    wrap(checkpoint_utils, "load_model_ensemble_and_task", _load_models)
    wrap(Trainer, "load_checkpoint", _load_training)


def is_cut_short(path: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint lost its end: it has no zip directory, or nothing that torch can read.

    Finds what an interrupted write or copy leaves, at no cost; not a flipped bit in the middle.
    """
    with open(path, "rb") as stream:
        start = stream.read(2)
    if start == b"PK":
        return not zipfile.is_zipfile(path)
    return start != b"\x80\x02"  # the pickle that torch < 1.6 wrote


def _load_file(stock: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return stock(path, *args, **kwargs)
    except Exception as error:  # reading text as a pickle raises nearly anything
        if not os.path.isfile(path):
            raise
        if is_cut_short(path):
            raise UserError(
                f"`{path}` is no whole checkpoint: it is cut short, or another kind of file"
                f" ({os.path.getsize(path):,} bytes). Copy it again or use another one."
            ) from error
        if "Weights only load failed" in str(error):
            raise UserError(_explain_refusal(path, error)) from error
        raise


def _explain_refusal(path: str, error: BaseException) -> str:
    named = re.search(r"GLOBAL (\S+)|got <class '(\S+)'>", str(error))
    what = f"`{named[1] or named[2]}`" if named else "an object of an unknown kind"
    return (
        f"`{path}` was not loaded: it holds {what}, which is not on the list of what is safe to "
        "load. No checkpoint of fairseq needs it: get the file from a source you trust."
    )


def _load_models(stock: Callable[..., Any], filenames: list[str], *args: Any, **kwargs: Any) -> Any:
    try:
        return stock(filenames, *args, **kwargs)
    except OSError as error:
        if "Model file not found" not in str(error):
            raise
        missing = str(error).rpartition(": ")[2]
        raise UserError(f"there is no checkpoint `{missing}`: check the path") from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise UserError(_explain_mismatch(", ".join(filenames), error)) from error


def _load_training(
    stock: Callable[..., Any], trainer: Any, filename: str, *args: Any, **kwargs: Any
) -> Any:
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
        f"`{path}` does not fit the model that was asked for: {first}{more}. Dictionaries, "
        "--arch and sizes must be those it was trained with; use another --save-dir to start anew."
    )
