"""Leaves out sentences that are longer than `--max-tokens`, and says so.

Stock ends in an assertion of its compiled batching, `--skip-invalid-size-inputs-valid-test` or not.
Here they are left out of training, and of other data where that flag is given; elsewhere one line
names the first. May go once fairseq skips them as it skips those that the model cannot take.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
from collections.abc import Callable
from typing import Any

from ..ground.errors import UserError
from .wrapping import wrap

logger = logging.getLogger(__name__)

#: A trainer asks for the batches, which does not stop in the middle for a long pair.
_in_training: contextvars.ContextVar[bool] = contextvars.ContextVar("in_training", default=False)
#: Such pairs are to be left out.
_skips: contextvars.ContextVar[bool] = contextvars.ContextVar("skips", default=True)


def apply() -> None:
    """Wrap what asks for batches, and what makes them."""
    from fairseq.data import FairseqDataset
    from fairseq.tasks import FairseqTask
    from fairseq.trainer import Trainer

    wrap(Trainer, "get_train_iterator", _to_train_on)
    wrap(Trainer, "get_valid_iterator", _for_training)
    wrap(FairseqTask, "get_batch_iterator", _for_any)
    wrap(FairseqDataset, "batch_by_size", _batch_the_others)


def _for_training(stock: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    token = _in_training.set(True)
    try:
        return stock(*args, **kwargs)
    finally:
        _in_training.reset(token)


def _to_train_on(stock: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return _for_training(stock, trainer, *args, **kwargs)
    except Exception as error:
        # What is too long for --max-tokens was left out before, as too long for the model.
        if "The dataset is empty" not in str(error):
            raise
        raise UserError(
            "no sentence is left to train on: the data is empty, or all are longer than the model"
            f" takes or than --max-tokens ({trainer.cfg.dataset.max_tokens})"
        ) from error


def _for_any(stock: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    asked = inspect.signature(stock).bind(*args, **kwargs).arguments
    token = _skips.set(_in_training.get() or bool(asked.get("ignore_invalid_inputs")))
    try:
        return stock(*args, **kwargs)
    finally:
        _skips.reset(token)


def _batch_the_others(
    stock: Callable[..., Any], dataset: Any, indices: Any, max_tokens: Any = None, **how: Any
) -> Any:
    if max_tokens is not None and len(indices):
        indices = fitting(dataset, indices, int(max_tokens))
    return stock(dataset, indices, max_tokens=max_tokens, **how)


def fitting(dataset: Any, indices: Any, max_tokens: int) -> Any:
    """Those of `indices` whose sentences have at most so many tokens.

    Raises:
        UserError: where none has, or where longer ones are not to be left out.
    """
    import numpy as np

    indices = np.asarray(indices)
    try:
        lengths = np.asarray(dataset.num_tokens_vec(indices))
    except NotImplementedError:
        lengths = np.array([dataset.num_tokens(index) for index in indices])
    too_long = lengths > max_tokens
    if not too_long.any():
        return indices
    first, length = indices[too_long][0], lengths[too_long][0]
    told = f"sentence {first} of the data (and {int(too_long.sum()) - 1} more) has {length} tokens"
    if not _skips.get():
        raise UserError(
            f"{told}, but --max-tokens is {max_tokens}: make that larger, or leave such sentences"
            " out with --skip-invalid-size-inputs-valid-test"
        )
    if too_long.all():
        raise UserError(f"{told}, but --max-tokens is {max_tokens}: no sentence fits")
    logger.warning("%s, more than --max-tokens (%d): left out", told, max_tokens)
    return indices[~too_long]
