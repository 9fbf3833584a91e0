"""Label smoothed cross entropy and the loss of the compression functions (Rae et al. 2019).

The compression's loss teaches the compression functions alone, so it needs no weight against the
main loss: `loss` and `nll_loss` in the logs are fairseq's, `compression_loss` stands beside them.
It is the sum over layers, sentences and compressed blocks, like the main loss divided by the sample
size. A batch too short to be compressed has none.

With `--memtx-compression-loss bptt`, or a function without parameters, this is fairseq's criterion.
"""

from dataclasses import dataclass, field

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.logging import metrics

from ..ground.errors import UserError
from .in_pieces import LabelSmoothedCrossEntropyCriterion


@dataclass
class CompressionCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """The flags of label smoothed cross entropy and ours."""

    memtx_compression_weight: float = field(
        default=1.0,
        metadata={
            "help": "factor of the compression's loss; it matters only through --clip-norm and"
            " the optimizer's rate, since no other parameter learns from it"
        },
    )


@register_criterion("memtx_compression", dataclass=CompressionCriterionConfig)
class CompressionCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label smoothed cross entropy and the compression's own loss, by a factor.

    Raises:
        UserError: for a negative factor, which would teach the opposite.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        memtx_compression_weight=1.0,
    ):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        if not memtx_compression_weight >= 0.0:
            raise UserError(
                f"--memtx-compression-weight is {memtx_compression_weight}: it has to be at least 0"
            )
        self.compression_weight = memtx_compression_weight

    def forward(self, model, sample, reduce=True):
        """fairseq's hook: the loss, the sample size, and what is logged."""
        model = self.model_to_call(model, reduce)
        net_output = model(**sample["net_input"])
        loss, nll_loss = self.compute_loss(model, net_output, sample, reduce=reduce)
        compression_loss = net_output[1].get("compression_loss")
        # Of one type in every batch: fairseq sums numbers in one exchange between ranks and tensors
        # in another, so that a rank with a number would wait for ever for one with a tensor.
        told = loss.new_zeros(()) if compression_loss is None else compression_loss.data
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logged = {
            "loss": loss.data,
            "nll_loss": nll_loss.data,
            "compression_loss": told,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            correct, total = self.compute_accuracy(model, net_output, sample)
            logged.update(n_correct=correct.item(), total=total.item())
        if compression_loss is not None and reduce:
            loss = loss + self.compression_weight * compression_loss
        return loss, sample_size, logged

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """fairseq's hook: the logged values of all ranks and batches as one."""
        super().reduce_metrics(logging_outputs)
        sample_size = sum(log.get("sample_size", 0) for log in logging_outputs)
        total = sum(log.get("compression_loss", 0) for log in logging_outputs)
        metrics.log_scalar("compression_loss", total / sample_size, sample_size, round=4)
