"""Lets several sets be read as one: `train`, `train1` ..., and validation with
`--combine-valid-subsets`.

Stock repeats the first of them `--upsample-primary` times, -1 by default: a ValueError. May go once
fairseq's default is 1.
"""

from collections.abc import Callable
from typing import Any

from .wrapping import wrap


def apply() -> None:
    """Wrap what reads a set of fairseq's task of translation, which ours reads by too."""
    from fairseq.tasks import translation

    wrap(translation, "load_langpair_dataset", _load_langpair_dataset)


def _load_langpair_dataset(stock: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if "upsample_primary" in kwargs:
        kwargs["upsample_primary"] = max(1, kwargs["upsample_primary"])
    return stock(*args, **kwargs)
