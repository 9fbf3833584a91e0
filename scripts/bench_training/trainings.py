"""Updates as fairseq's trainer makes them, without its data and its checkpoints."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fairseq.criterions import label_smoothed_cross_entropy as stock
from fairseq.data import Dictionary
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from fairseq.tasks import FairseqTask
from torch import nn

from fairseq_memtx.config import ComputeOptions
from fairseq_memtx.criterions.in_pieces import LabelSmoothedCrossEntropyCriterion
from fairseq_memtx.tasks.computing import ComputingTask


class BareTask(FairseqTask):
    """fairseq's task with a dictionary and no data."""

    def __init__(self, dictionary: Dictionary):
        super().__init__(Namespace())
        self.dictionary = dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        """What a criterion asks for its padding."""
        return self.dictionary


class OurBareTask(ComputingTask, BareTask):
    """The same, computing as our tasks do."""


class Training:
    """A model in training.

    Args:
        model: in training mode.
        math: "stock" for fairseq's way, or a choice of `--memtx-cpu-math`.
        words: of the dictionary.
        batch: as fairseq gives it to a criterion.

    Attributes:
        loss: of a token, in the last update.
    """

    loss = float("nan")

    def __init__(self, model: nn.Module, math: str, words: int, batch: dict[str, Any]):
        self.model, self.batch, self.updates = model, batch, 0
        dictionary = Dictionary()
        for number in range(words - len(dictionary)):
            dictionary.add_symbol(f"w{number}")
        self.task: FairseqTask
        if math == "stock":
            self.task, criterion = BareTask(dictionary), stock.LabelSmoothedCrossEntropyCriterion
        else:
            self.task, criterion = OurBareTask(dictionary), LabelSmoothedCrossEntropyCriterion
            self.task.compute_options = ComputeOptions(cpu_math=math)
        self.criterion = criterion(self.task, sentence_avg=False, label_smoothing=0.1)
        settings = FairseqAdamConfig(adam_betas="(0.9, 0.98)", tpu=False, lr=[1e-4])
        self.optimizer = FairseqAdam(settings, list(model.parameters()))

    def update(self) -> None:
        """One update, in the order of fairseq's trainer."""
        self.optimizer.zero_grad()
        loss, size, _ = self.task.train_step(
            self.batch, self.model, self.criterion, self.optimizer, self.updates
        )
        self.optimizer.multiply_grads(1.0 / size)
        self.optimizer.clip_grad_norm(1.0)
        self.task.optimizer_step(self.optimizer, self.model, self.updates)
        self.updates += 1
        self.loss = float(loss.detach()) / size
