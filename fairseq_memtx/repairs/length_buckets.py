"""Lets `--num-batch-buckets` find its buckets with today's numpy.

Stock asks `numpy.percentile` for an `interpolation`, which is called `method` since numpy 1.22 and
no longer known to numpy 2.4. May go once fairseq uses that name.
"""

from collections.abc import Callable
from typing import Any

from .wrapping import wrap


def apply() -> None:
    """Wrap the function where it is defined, and where it was imported to."""
    from fairseq.data import bucket_pad_length_dataset, data_utils

    for module in (data_utils, bucket_pad_length_dataset):
        wrap(module, "get_buckets", _get_buckets)


def _get_buckets(stock: Callable[..., Any], sizes: Any, num_buckets: int) -> Any:
    import numpy as np

    shares = np.linspace(0, 100, num_buckets + 1)
    return np.unique(np.percentile(sizes, shares, method="lower")[1:])
