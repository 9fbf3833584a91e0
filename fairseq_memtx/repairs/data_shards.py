"""Refuses data in parts (`a:b`) whose dictionaries differ.

Stock reads the dictionaries of the first part alone: with those of another it trains on the wrong
words, or ends in an IndexError. May go once fairseq compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data.binarised import check_parts
from .wrapping import wrap


def apply() -> None:
    """Wrap what loads a split of the tasks that take data in parts."""
    from fairseq.tasks.language_modeling import LanguageModelingTask
    from fairseq.tasks.translation import TranslationTask

    for task in (TranslationTask, LanguageModelingTask):
        wrap(task, "load_dataset", _load_dataset)


def _load_dataset(stock: Callable[..., Any], task: Any, *args: Any, **kwargs: Any) -> Any:
    from fairseq import utils

    data = getattr(getattr(task, "cfg", None) or getattr(task, "args", None), "data", None)
    check_parts([Path(part) for part in utils.split_paths(data or "")])
    return stock(task, *args, **kwargs)
