"""What fairseq stores is loaded, and crafted checkpoints are refused."""

import argparse
import collections
import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.distributed.utils import _TensorPlaceholder
from omegaconf import OmegaConf

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError

repairs.apply()

STORED = {
    "options": argparse.Namespace(arch="transformer", lr=[0.1]),
    "score": np.float64(28.4),
    "count": np.int64(3),
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "counts": collections.defaultdict(int),
    "config": OmegaConf.create({"task": {"data": "x", "n": 3, "on": True}, "lr": [0.5, None]}),
    "placeholder": _TensorPlaceholder(index=2),
    "types": [{1}, frozenset({2}), (3, 4.0), b"5", None],
}


@pytest.fixture
def without_our_classes() -> Iterator[None]:
    """torch's list of safe classes as it is without our package."""
    ours = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.add_safe_globals(ours)


@pytest.mark.parametrize("name", STORED)
def test_what_fairseq_stores_is_loaded(name: str, tmp_path: Path) -> None:
    torch.save(STORED[name], tmp_path / "x.pt")
    loaded = torch.load(tmp_path / "x.pt", weights_only=True)
    assert type(loaded) is type(STORED[name])
    assert np.array_equal(loaded, STORED[name]) if name == "array" else loaded == STORED[name]


@pytest.mark.parametrize("package", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("name", ["score", "array"])
def test_scores_of_numpy_1_and_2_are_loaded(name: str, package: bytes, tmp_path: Path) -> None:
    torch.save(STORED[name], tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "renamed.pt", "w") as target,
    ):
        for entry in source.namelist():
            content = source.read(entry)
            for old in (b"numpy._core", b"numpy.core"):
                content = content.replace(old + b".multiarray", package + b".multiarray")
            target.writestr(entry, content)
    assert np.array_equal(torch.load(tmp_path / "renamed.pt"), STORED[name])


@pytest.mark.usefixtures("without_our_classes")
@pytest.mark.parametrize("name", ["options", "score", "array", "config", "placeholder"])
def test_defect_torch_refuses_what_fairseq_stores(name: str) -> None:
    stream = io.BytesIO()
    torch.save(STORED[name], stream)
    stream.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(stream)


class Crafted:
    """An object whose unpickling calls `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def crafted_checkpoints(victim: Path) -> list[Any]:
    """Checkpoints that make the folder `victim` when they are loaded without care."""
    make = Crafted(os.mkdir, str(victim))
    return [
        make,
        Crafted(os.system, f"mkdir '{victim}'"),
        Crafted(exec, f"import os; os.mkdir({str(victim)!r})"),
        {"args": argparse.Namespace(hidden=make), "model": {}},
        {"extra_state": {"metrics": [("x", make)]}},
        {"extra_state": np.array([make], dtype=object)},
    ]


@pytest.mark.parametrize("which", range(6))
def test_a_crafted_checkpoint_is_refused_in_one_line(which: int, tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "crafted.pt"
    torch.save(crafted_checkpoints(victim)[which], path)
    with pytest.raises(UserError, match=r"crafted.pt` was not loaded: it holds `\S+`") as caught:
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert "\n" not in str(caught.value)
    assert not victim.exists()


@pytest.mark.parametrize("which", range(6))
def test_the_crafted_checkpoints_would_do_harm(which: int, tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "crafted.pt"
    torch.save(crafted_checkpoints(victim)[which], path)
    torch.load(path, weights_only=False)
    assert victim.is_dir()
