"""What is weighed, and where it cannot be known."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scripts.bench_decoding import memory as decoding_memory
from scripts.shared import gpu as benchmark_gpu
from scripts.shared import measure


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


def test_graphs_see_all_batches_before_the_clock_runs():
    batches = [batch(20, 2), batch(20, 3), batch(20, 4)]
    in_graphs = system(True, SimpleNamespace(graphs="some"))
    measure.warm_up(in_graphs, batches)
    assert in_graphs.seen == batches * measure.WARM_UPS_OF_GRAPHS
    by_the_host = system(True, SimpleNamespace(graphs=None))
    measure.warm_up(by_the_host, batches)
    assert by_the_host.seen == batches[1:2]
