"""Replayed loops against the reference, on the CPU with recorded operations: float64, all options.

What a GPU adds to this is the capture alone; see `test_cuda_graphs`.
"""

from dataclasses import replace

import pytest
import torch

from fairseq_memtx.engine import ENGINES
from fairseq_memtx.engine.replay import Replayer
from tests.fairseq_memtx.engine.operation_recorder import OperationRecorder
from tests.fairseq_memtx.engine.stacks import Stack, gradients, random_loss
from tests.fairseq_memtx.engine.test_manual import CASES

reference = ENGINES["reference"]


class Replays(Replayer):
    """The engine, with its recorder at hand."""

    def __init__(self, **settings):
        self.recorder = OperationRecorder()
        super().__init__(lambda: self.recorder, **settings)


def ready(**settings) -> Replays:
    """An engine that records at once, with gradients of everything."""
    engine = Replays(record_at=1, **settings)
    engine._expect(frozenset(range(-9, 1)))
    return engine


def next_batch(stack: Stack, seed: int) -> None:
    """Other data and other weights, at the same places: what an update and a new batch change."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    stack.draw()


def check_round(engine, stack: Stack, loss=random_loss) -> None:
    """Values and all gradients of one batch are those of the reference."""
    close = {"rtol": 1e-9, "atol": 1e-10}
    outs = [run(stack.recurrence()) for run in (engine, reference)]
    got, want = (
        [*out.states, *([] if out.cross_probs is None else [out.cross_probs])] for out in outs
    )
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, **close)
    got, want = (gradients(loss(out), stack) for out in outs)
    for name, grad in want.items():
        torch.testing.assert_close(
            got[name], grad, msg=lambda text, n=name: f"{n}: {text}", **close
        )


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", CASES)
def test_a_recording_serves_other_data_and_other_weights(name, dropout):
    stack, engine = Stack(replace(CASES[name], dropout=dropout)), ready()
    for seed in range(2):
        next_batch(stack, seed)
        check_round(engine, stack)
    assert engine.recorder.replays == (0 if name == "all layers dropped" else 4)
