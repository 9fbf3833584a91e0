"""What is weighed, and where it cannot be known."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from scripts import benchmark_gpu, decoding_memory, measure


@dataclass
class Watched(measure.System):
    """Tells what it was given to translate."""

    seen: list[Any] = field(default_factory=list)

    def translate(self, batch):
        self.seen.append(batch)
        return []


def system(cuda: bool, generator: Any = "some") -> Watched:
    return Watched("a", None, generator, None, None, cuda)


def batch(rows: int, length: int) -> dict:
    return {"id": torch.arange(rows), "net_input": {"src_tokens": torch.zeros(rows, length)}}


@pytest.mark.parametrize("cuda", [False, True])
def test_the_largest_batch_is_weighed_by_the_device(cuda, monkeypatch):
    def on_gpu(step):
        step()
        return 77

    monkeypatch.setattr(benchmark_gpu, "peak_bytes", on_gpu)
    small, large, long = batch(4, 3), batch(4, 9), batch(1, 12)
    watched = system(cuda)
    found = decoding_memory.peak_bytes(watched, [small, large, long])
    assert watched.seen == [large]
    assert found == 77 if cuda else found is None or found >= 0


def test_what_the_rival_holds_on_a_gpu_is_not_known():
    assert decoding_memory.peak_bytes(system(True, generator=None), [batch(1, 1)]) is None
    assert decoding_memory.weigh_state(system(False, generator=None)) is None
    assert decoding_memory.growth(None, 3) is None and decoding_memory.growth(5, 3) == 0


def test_what_is_held_does_not_depend_on_rubbish():
    """An earlier system in a cycle of references would be freed while the next is weighed."""
    before = decoding_memory.held_bytes(False)
    if before is None:
        pytest.skip("no memory of processes is known here")
    rubbish: dict[str, Any] = {"big": torch.ones(2**24)}
    rubbish["cycle"] = rubbish
    del rubbish
    assert decoding_memory.growth(before, decoding_memory.held_bytes(False)) < 2**24


def test_on_a_gpu_all_batches_are_seen_before_the_clock_runs():
    batches = [batch(20, 2), batch(20, 3), batch(20, 4)]
    watched = system(True)
    measure.warm_up(watched, batches)
    assert watched.seen == batches * measure.WARM_UPS_ON_GPU
    on_cpu = system(False)
    measure.warm_up(on_cpu, batches)
    assert on_cpu.seen == batches[1:2]
