"""Engines that replay recordings on a CPU, and batches for them."""

from dataclasses import replace

import torch

from fairseq_memtx.engine import Recurrence
from fairseq_memtx.engine.gpu.replay import Replayer
from fairseq_memtx.modules.cross_attention import CrossMemory
from tests.fairseq_memtx.engine.operation_recorder import OperationRecorder
from tests.fairseq_memtx.engine.stacks import (
    Case,
    Stack,
    check_stack,
    random_loss,
)

SMALL = Case(dropout=0.2)


class Replays(Replayer):
    """The engine, with its recorder at hand."""

    def __init__(self, recorder=None, **settings):
        self.recorder = recorder or OperationRecorder()
        super().__init__(lambda: self.recorder, **settings)


def ready(**settings) -> Replays:
    """An engine that records a form at its first sight, with gradients of all outputs."""
    engine = Replays(**{"record_at": 1, "replays_to_pay": 0, **settings})
    engine._expect(frozenset(range(-9, 1)))
    return engine


def next_batch(stack: Stack, seed: int) -> None:
    """Other data and other weights at the same places: what an update and a new batch change."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    stack.draw()


def check_replay(case: Case) -> None:
    """A recording on one batch, and a replay of it on another."""
    stack, engine = Stack(case), ready()
    random_loss(engine(stack.recurrence())).backward()
    next_batch(stack, 0)
    check_stack(stack, engine)
    assert engine.recorder.recordings == 2 and engine.recorder.replays == 4


def of_size(length: int, rows: int, source: int):
    """Cuts a recurrence to these sizes."""

    def cut(r: Recurrence) -> Recurrence:
        sources = [
            CrossMemory(
                x.keys[:rows, :, :source], x.values[:rows, :, :source],
                x.padding_mask[:rows, :source],
            )
            for x in r.sources
        ]  # fmt: skip
        mask = r.padding_mask[:rows, :length]
        return replace(r, inputs=r.inputs[:length, :rows], padding_mask=mask, sources=sources)

    return cut
