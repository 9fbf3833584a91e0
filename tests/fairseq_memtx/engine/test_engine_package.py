"""The engines' packages as a newcomer finds them."""

from pathlib import Path
from types import ModuleType

import pytest

import fairseq_memtx.decoding
import fairseq_memtx.decoding.gpu
from fairseq_memtx import engine
from fairseq_memtx.engine import gpu


@pytest.mark.parametrize(
    "package, least",
    [(engine, 15), (gpu, 5), (fairseq_memtx.decoding, 9), (fairseq_memtx.decoding.gpu, 5)],
)
def test_its_docstring_names_every_module(package: ModuleType, least: int) -> None:
    assert package.__file__ is not None
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")} - {"__init__"}
    assert len(modules) >= least
    assert not {name for name in modules if f"`{name}`" not in (package.__doc__ or "")}


@pytest.mark.parametrize("package", [gpu, fairseq_memtx.decoding.gpu])
def test_what_no_gpu_has_run_says_so(package: ModuleType) -> None:
    assert "NOT YET RUN ON A GPU" in (package.__doc__ or "")
