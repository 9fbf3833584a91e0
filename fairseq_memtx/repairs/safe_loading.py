"""Tells torch which classes a checkpoint of fairseq's holds, so that safe loading accepts them.

torch >= 2.6 loads with `weights_only=True`, and fairseq stores its options as an
`argparse.Namespace`, scores as numpy scalars, and sends `_TensorPlaceholder` between ranks through
`torch.save`. Everything else stays refused. May go once fairseq registers its own classes.
"""

import argparse
import collections
import typing
from typing import Any

from .wrapping import when_undone


def apply() -> None:
    """Add the classes to torch's list."""
    import torch

    known = torch.serialization.get_safe_globals()
    ours = [*_plain_classes(), *_numpy_classes(), *_omegaconf_classes(), *_fairseq_classes()]
    added = [item for item in ours if item not in known]
    if added:
        torch.serialization.add_safe_globals(added)
        when_undone(lambda: _remove(added))


def _remove(classes: list[Any]) -> None:
    """Take classes off torch's list, which has no function for single ones."""
    import torch

    others = [item for item in torch.serialization.get_safe_globals() if item not in classes]
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(others)


def _plain_classes() -> list[Any]:
    containers = [dict, list, tuple, frozenset, set, collections.defaultdict]
    return [argparse.Namespace, typing.Any, *containers, int, float, str, bool]


def _numpy_classes() -> list[Any]:
    """What a pickled array or scalar of numbers names, under the paths of numpy 1 and 2."""
    import numpy as np

    # Found through an instance, because the module's name differs between numpy 1 and 2.
    reconstruct = np.zeros(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    renamed = [
        (function, f"{package}.multiarray.{name}")
        for function, name in ((reconstruct, "_reconstruct"), (scalar, "scalar"))
        for package in ("numpy.core", "numpy._core")
    ]
    numbers = [type(np.dtype(code)) for code in "?bhilqBHILQefdFD"]
    return [np.ndarray, np.dtype, *renamed, *dict.fromkeys(numbers)]


def _omegaconf_classes() -> list[Any]:
    from omegaconf import DictConfig, ListConfig, base, nodes

    leaves = [
        nodes.AnyNode,
        nodes.BooleanNode,
        nodes.BytesNode,
        nodes.FloatNode,
        nodes.IntegerNode,
        nodes.StringNode,
    ]
    return [DictConfig, ListConfig, base.ContainerMetadata, base.Metadata, *leaves]


def _fairseq_classes() -> list[Any]:
    from fairseq.distributed import utils as distributed_utils

    return [distributed_utils._TensorPlaceholder]
