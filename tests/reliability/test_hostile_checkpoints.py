"""Every hostile checkpoint is refused, in one line, in bounded time and memory."""

import resource
import time
from pathlib import Path

import pytest
from fairseq import checkpoint_utils

from fairseq_memtx import plugin
from fairseq_memtx.ground.errors import UserError
from tests.reliability.hostile import HOSTILE

assert plugin

#: Beyond what loading the good one takes.
MOST_SECONDS = 10.0
MOST_KIB = 400 << 10


@pytest.fixture(scope="module")
def good(tiny_checkpoints: dict[str, Path]) -> Path:
    return tiny_checkpoints["feedback"]


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_in_one_line(kind: str, good: Path, tmp_path: Path) -> None:
    bad, mark = tmp_path / "bad.pt", tmp_path / "mark"
    HOSTILE[kind](good, bad, mark)
    before, started = peak_kib(), time.monotonic()
    with pytest.raises(UserError) as caught:
        checkpoint_utils.load_model_ensemble_and_task([str(bad)])
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < MOST_SECONDS
    assert peak_kib() - before < MOST_KIB
    assert not mark.exists()
