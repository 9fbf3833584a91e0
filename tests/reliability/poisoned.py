"""Numbers that are none, put into a training or into a model."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.optim import FairseqOptimizer
from fairseq.trainer import Trainer
from torch import Tensor, nn

from fairseq_memtx.modules.segment_memory import SegmentMemory
from fairseq_memtx.modules.stream_memory import StreamBlock
from tests.reliability.interrupted import nth_call

VALUES = {"NaN": math.nan, "Inf": math.inf, "-Inf": -math.inf, "overflow": 3e38}


def put(tensor: Tensor, value: float) -> None:
    """Into one element in the middle."""
    with torch.no_grad():
        tensor.view(-1)[tensor.numel() // 2] = value


def always_used(model: nn.Module) -> Tensor:
    """A weight that every batch goes through."""
    return next(p for name, p in model.named_parameters() if name.endswith("layers.0.fc1.weight"))


@dataclass(frozen=True)
class Poison:
    """A value that turns up in one step of a training.

    Attributes:
        place: "weights", "loss" (which logits that are no numbers become), "gradients", or "memory"
            (that is carried from block to block).
        value: a name of `VALUES`.
        at: the step, from 1.
    """

    place: str
    value: str
    at: int = 4

    def arm(self, is_last: bool) -> None:
        """See `Fault`."""
        {
            "weights": self._weights,
            "loss": self._loss,
            "gradients": self._gradients,
            "memory": self._memory,
        }[self.place]()

    def ends_with(self, stock: bool) -> set[int]:
        """See `Fault`.

        In a memory, 3e38 is a number like others: an entry whose score is far below the rest is not
        attended to, and a norm makes an ordinary row of one that is attended to. So no loss and no
        gradient need be other than finite, and then training ends well, with finite weights.
        """
        return {0, 1} if (self.place, self.value) == ("memory", "overflow") else {1}

    def _weights(self) -> None:
        nth_call(
            Trainer, "train_step", self.at,
            lambda trainer, *_, **__: put(always_used(trainer.model), VALUES[self.value]),
        )  # fmt: skip

    def _loss(self) -> None:
        stock, calls = FairseqOptimizer.backward, []

        def backward(optimizer: Any, loss: Tensor) -> None:
            calls.append(None)
            stock(optimizer, loss * VALUES[self.value] if len(calls) == self.at else loss)

        FairseqOptimizer.backward = backward

    def _gradients(self) -> None:
        def change(optimizer: Any, model: nn.Module) -> None:
            put(always_used(model).grad, VALUES[self.value])  # type: ignore[arg-type]

        nth_call(FairseqOptimizer, "all_reduce_grads", self.at, change)

    def _memory(self) -> None:
        stock, calls = StreamBlock.read, []

        def read(block: StreamBlock, *args: Any) -> Any:
            memory = stock(block, *args)
            calls.extend([None] if memory is not None else [])
            return memory if len(calls) != self.at else poisoned(memory, VALUES[self.value])

        StreamBlock.read = read  # type: ignore[method-assign]


def poisoned(memory: Any, value: float) -> Any:
    """A copy of a memory with the value in the newest entry of each layer."""

    def changed(x: Tensor) -> Tensor:
        copy = x.clone()
        copy.view(-1)[-1] = value
        return copy

    if isinstance(memory, SegmentMemory):
        return SegmentMemory([one._replace(recent=changed(one.recent)) for one in memory.layers])
    return type(memory)(changed(memory.keys), changed(memory.values), memory.hidden)
