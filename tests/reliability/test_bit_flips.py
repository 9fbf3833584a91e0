"""A checkpoint of which one bit is another is refused, or is what it was: never something else."""

import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_memtx import checkpoints
from fairseq_memtx.commands import quantize
from fairseq_memtx.ground.errors import UserError
from scripts.shared.benchmark import memory_line
from tests.fairseq_memtx.tiny_training import assert_equal
from tests.reliability.drawn import MORE, SEED
from tests.reliability.tally import Tally

KINDS = ("float32", "int8")
FEW, MANY = 40, 300 * MORE


@pytest.fixture(scope="module")
def files(scattered: Path, data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checkpoint with its weights in float32, and one in eight bits."""
    small = tmp_path_factory.mktemp("flips") / "small.pt"
    assert quantize.main([str(scattered), "--out", str(small), "--data", str(data_bin)]) == 0
    return {"float32": scattered, "int8": small}


def flips(whole: bytes, kind: str, count: int) -> Iterator[bytes]:
    """Copies of a file with one bit changed each, anywhere in it."""
    draw = random.Random(f"{SEED}:{kind}")
    for _ in range(count):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        yield bytes(content)


@contextmanager
def little_memory() -> Iterator[None]:
    """Let no more than 2 GiB be allocated: a flipped size asks for any number of bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_line("VmSize") + (2 << 30), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def is_same(state: dict[str, Any], whole: dict[str, Any]) -> bool:
    try:
        assert_equal(dict(state["model"]), dict(whole["model"]))
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        *((kind, FEW) for kind in KINDS),
        *(pytest.param(k, MANY, marks=pytest.mark.slow) for k in KINDS),
    ],
)
def test_a_flipped_bit_is_refused_or_changes_nothing(
    kind: str, count: int, files: dict[str, Path], tmp_path: Path, tally: Tally
) -> None:
    whole, bad, wrong = checkpoints.load(files[kind]), tmp_path / "bad.pt", []
    for number, content in enumerate(flips(files[kind].read_bytes(), kind, count)):
        bad.unlink(missing_ok=True)  # the last one may be mapped into memory still
        bad.write_bytes(content)
        try:
            state = checkpoints.load(bad)
        except UserError as error:
            survived = "\n" not in str(error) and str(bad) in str(error)
        else:
            survived = is_same(state, whole) and state["cfg"] == whole["cfg"]
        tally.ours(survived)
        wrong += [] if survived else [number]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_defect_torch_takes_other_weights(
    kind: str, files: dict[str, Path], tmp_path: Path, tally: Tally
) -> None:
    """What stock fairseq does to load a file. Fails once torch compares the archive's CRC-32."""
    whole, bad, survived = checkpoints.load(files[kind]), tmp_path / "bad.pt", 0
    for content in flips(files[kind].read_bytes(), kind, MANY):
        bad.write_bytes(content)
        try:
            with little_memory():
                one = is_same(torch.load(bad, weights_only=False), whole)
        except Exception:
            one = True
        survived += one
        tally.stock(one)
    assert survived < MANY
