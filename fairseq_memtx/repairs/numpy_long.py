"""Lets two of fairseq's datasets find `np.compat.long`, which numpy 2 no longer has.

Stock fails at `--sample-break-mode eos`, at `--num-batch-buckets`, and when a language model is to
continue a text (fairseq-interactive, fairseq-generate). May go once they say `np.int64`.
"""

import importlib
import types
from typing import Any

from .wrapping import put

DATASETS = ("token_block_dataset", "language_pair_dataset")


def apply() -> None:
    """Give the modules of these datasets a numpy with the name, where it lacks it."""
    import numpy as np

    if hasattr(np, "compat"):
        return
    for name in DATASETS:
        module = importlib.import_module(f"fairseq.data.{name}")
        if not isinstance(vars(module)["np"], _NumpyWithLong):
            put(module, "np", _NumpyWithLong())


class _NumpyWithLong:
    """numpy, and the name that it has lost."""

    compat = types.SimpleNamespace(long=int)

    def __getattr__(self, name: str) -> Any:
        import numpy as np

        return getattr(np, name)
