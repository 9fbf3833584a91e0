"""fairseq's cross entropies, computed in pieces over tokens (`compute.token_loss`).

The criterion asks the model for its features instead of its logits and does the projection to the
vocabulary itself. It does so for the tasks that ask for it (`memtx_loss_in_pieces`) and where the
projection is a plain one; anything else (adaptive softmax, float16, a decoder of unknown kind) is
computed as fairseq does. Values, gradients and what is logged are fairseq's, up to rounding.

The classes carry fairseq's names: fairseq writes the name of the criterion's class into checkpoints
and compares it when they are loaded. So a checkpoint goes on in stock fairseq, and the other way.
"""

import inspect
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion, cross_entropy, label_smoothed_cross_entropy
from fairseq.models import FairseqDecoder
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor, nn

from ..compute.token_loss import TokenLoss, token_loss
from ..models.memory_decoder import MemoryDecoder

#: Under this name a model's output carries the numbers of correct words and of words.
ACCURACY = "memtx_accuracy"


class FeaturesOnly:
    """A model that is called for its features; everything else is the model's own.

    Args:
        model: as fairseq gives it to a criterion.
        weight: `(V, C)` of its projection to the vocabulary.
    """

    def __init__(self, model: Any, weight: Tensor):
        self.model, self.weight = model, weight

    def __call__(self, **net_input: Any) -> tuple[Tensor, dict[str, Any]]:
        features, extra = self.model(**net_input, features_only=True)
        return features, {**extra} if extra else {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class InPieces(FairseqCriterion):
    """What turns a criterion that calls `compute_loss` into one that works in pieces."""

    eps = 0.0
    ignore_prefix_size = 0
    report_accuracy = False

    def forward(self, model, sample, reduce=True):
        """fairseq's hook: the loss, the sample size, and what is logged."""
        return super().forward(self.model_to_call(model, reduce), sample, reduce)

    def model_to_call(self, model: Any, reduce: bool = True) -> Any:
        """The model, or the model for its features where the loss is computed in pieces."""
        if not reduce or not getattr(self.task, "memtx_loss_in_pieces", False):
            return model
        weight = projection_weight(model)
        return model if weight is None else FeaturesOnly(model, weight)

    def compute_loss(self, model, net_output, sample, reduce=True):
        """fairseq's hook: the loss and the negative log-likelihood."""
        if not isinstance(model, FeaturesOnly):
            return super().compute_loss(model, net_output, sample, reduce)
        found = self._token_loss(model, net_output, sample)
        net_output[1][ACCURACY] = found.correct, torch.tensor(found.total)
        return found.loss, found.nll

    def compute_accuracy(self, model, net_output, sample):
        """fairseq's hook: the numbers of correct words and of words."""
        if not isinstance(model, FeaturesOnly):
            return super().compute_accuracy(model, net_output, sample)
        return net_output[1][ACCURACY]

    def _token_loss(self, model: FeaturesOnly, net_output, sample) -> TokenLoss:
        skipped = self.ignore_prefix_size
        # (B, T, C), (B, T)
        features, target = net_output[0], model.get_targets(sample, net_output)
        return token_loss(
            features[:, skipped:].flatten(0, 1),
            model.weight,
            target[:, skipped:].flatten(),
            self.eps,
            self.padding_idx,
            count_correct=self.report_accuracy,
        )


class LabelSmoothedCrossEntropyCriterion(
    InPieces, label_smoothed_cross_entropy.LabelSmoothedCrossEntropyCriterion
):
    """fairseq's `label_smoothed_cross_entropy`."""


class CrossEntropyCriterion(InPieces, cross_entropy.CrossEntropyCriterion):
    """fairseq's `cross_entropy`."""


#: Our class in the place of each of fairseq's.
IN_PIECES: dict[type[FairseqCriterion], type[FairseqCriterion]] = {
    ours.__bases__[-1]: ours for ours in (LabelSmoothedCrossEntropyCriterion, CrossEntropyCriterion)
}


def projection_weight(model: Any) -> Tensor | None:
    """`(V, C)` of a model's projection to the vocabulary; None where it may not be plain."""
    while hasattr(model, "module"):  # of distributed training
        # Parameters that the model's own call does not reach would count as unused.
        if getattr(model, "find_unused_parameters", False):
            return None
        model = model.module
    decoder = getattr(model, "decoder", None)
    if not isinstance(decoder, TransformerDecoderBase) or not _gives_features(model):
        return None
    own = (TransformerDecoderBase.output_layer, MemoryDecoder.output_layer)
    if type(decoder).output_layer not in own or decoder.adaptive_softmax is not None:
        return None
    if type(decoder).get_normalized_probs is not FairseqDecoder.get_normalized_probs:
        return None
    linear = decoder.output_projection
    if type(linear) is not nn.Linear or linear.bias is not None:
        return None
    return None if _in_float16(linear.weight) else linear.weight


def _gives_features(model: Any) -> bool:
    """Whether a model can be called with `features_only`."""
    parameters = inspect.signature(type(model).forward).parameters.values()
    return any(p.name == "features_only" or p.kind is p.VAR_KEYWORD for p in parameters)


def _in_float16(weight: Tensor) -> bool:
    """Gradients made before the loss is scaled would be too small for float16."""
    kind = weight.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    return dtype == torch.float16
