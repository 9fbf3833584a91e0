"""Cross entropy over a vocabulary, label smoothed, without log-probabilities of all tokens at once.

The usual way holds the logits, their log-probabilities and the gradients of both: several tensors
of tokens times vocabulary, half a gigabyte each at 4,000 tokens and 32,000 words, which a CPU must
also fetch from memory again and again. Here the tokens go through the output projection in pieces.
A piece's logits become their own gradient at once, which is multiplied into the gradients of the
features and of the projection's weight, and are gone. Padding is left out before anything is
computed. The result is that of the usual way up to rounding.

With probabilities p, target t, smoothing e and V words, e' = e / (V - 1), the loss of a token is
`(1 - e - e') (-log p_t) + e' sum_v (-log p_v)`; its gradient by the logits is
`p_v - (1 - e - e') [v = t] - e'`.

Size legend: N rows (tokens), C features, V words, n rows of a piece.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .linear import forward, input_gradient, weight_gradient

# Bytes of a piece's logits: on a CPU just below what its heap keeps for the next piece (see
# `host_memory`), elsewhere enough to keep the device busy.
PIECE_BYTES = {"cpu": 24 * 2**20}
PIECE_BYTES_ELSEWHERE = 512 * 2**20
MIN_PIECE = 64

# Probabilities below have lost digits, or all: their logarithms say little.
SMALLEST_OF_USE = {dtype: 1e4 * torch.finfo(dtype).tiny for dtype in (torch.float32, torch.float64)}


class TokenLoss(NamedTuple):
    """Sums over all tokens that are no padding.

    Attributes:
        loss: a scalar with a gradient.
        nll: the negative log-likelihood, a scalar without a gradient.
        correct: tokens whose likeliest word is the target, or None where not asked for.
        total: tokens.
    """

    loss: Tensor
    nll: Tensor
    correct: Tensor | None
    total: int


def token_loss(
    features: Tensor,
    weight: Tensor,
    target: Tensor,
    smoothing: float = 0.0,
    padding_idx: int | None = None,
    count_correct: bool = False,
) -> TokenLoss:
    """The label-smoothed cross entropy of `features @ weight.T`.

    Under autocast products are in its dtype, as those of a linear map would be; the softmax, the
    sums and the weight's gradient are in float32 (float64 where the weight is).

    Args:
        features: `(N, C)`.
        weight: `(V, C)`.
        target: `(N,)`.
        smoothing: at least 0 and below 1.
        padding_idx: tokens with this target do not count.
        count_correct: also count how often the likeliest word is the target.
    """
    if padding_idx is not None:
        real = target.ne(padding_idx).nonzero().squeeze(1)
        if len(real) < len(target):
            features, target = features.index_select(0, real), target.index_select(0, real)
    kind = features.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    with torch.autocast(kind, enabled=False):
        loss, nll, correct = _TokenLoss.apply(
            features, weight, target, smoothing, count_correct, dtype, torch.is_grad_enabled()
        )
    return TokenLoss(loss, nll, correct if count_correct else None, len(target))


class _TokenLoss(torch.autograd.Function):
    """From features and weight to the loss, the negative log-likelihood and the number correct."""

    @staticmethod
    def forward(ctx, features, weight, target, smoothing, count_correct, dtype, record):
        wants = [record and needed for needed in ctx.needs_input_grad[:2]]
        run = _Run(features, weight, smoothing, dtype, *wants)
        for start in range(0, len(target), run.piece):
            run.add(slice(start, start + run.piece), target, count_correct)
        ctx.grads = run.gradients()
        ctx.mark_non_differentiable(run.nll, run.correct)
        return run.loss, run.nll, run.correct

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *unused):
        # Mostly 1, and then nothing is left to do. An accelerator would have to be waited for.
        same = grad.device.type == "cpu" and float(grad) == 1.0
        found = [x if x is None or same else x * grad.to(x.dtype) for x in ctx.grads]
        return *found, None, None, None, None, None


class _Run:
    """The sums that grow piece by piece.

    Args:
        features, weight: see `token_loss`.
        smoothing: e.
        dtype: of products.
        wants_features, wants_weight: which gradients to make.
    """

    def __init__(
        self,
        features: Tensor,
        weight: Tensor,
        smoothing: float,
        dtype: torch.dtype,
        wants_features: bool,
        wants_weight: bool,
    ):
        self.given = features, weight
        self.features, self.weight = features.to(dtype), weight.to(dtype)
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        words = weight.size(0)
        self.share = smoothing / (words - 1) if words > 1 else 0.0
        self.own = 1.0 - smoothing - self.share
        self.piece = piece_rows(words, self.features.device.type)
        self.loss, self.nll = (features.new_zeros((), dtype=self.wide) for _ in range(2))
        self.correct = features.new_zeros((), dtype=torch.int64)
        self.all_words = self.weight.sum(0, dtype=self.wide) if self.share else None
        self.all_tokens = features.new_zeros(features.size(1), dtype=self.wide)
        self.features_grad = torch.empty_like(self.features) if wants_features else None
        self.weight_grad: Tensor | None = None
        self.wants_weight = wants_weight

    def add(self, rows: slice, target: Tensor, count_correct: bool) -> None:
        """Add the tokens `rows`."""
        x, target = self.features[rows], target[rows].unsqueeze(1)
        logits = forward(x, self.weight).to(self.wide)
        if count_correct:
            self.correct += logits.argmax(1, keepdim=True).eq(target).sum()
        of_target, probs = logits.gather(1, target), torch.softmax(logits, 1)
        normaliser = _normaliser(logits, probs, target, of_target)
        nll = (normaliser - of_target).sum()
        self.nll += nll
        self.loss += self.own * nll
        if self.all_words is not None:
            of_all = x.to(self.wide) @ self.all_words
            smooth = normaliser.squeeze(1).mul_(len(self.weight)).sub_(of_all)
            self.loss += self.share * smooth.sum()
        if self.features_grad is not None or self.wants_weight:
            self._add_gradients(rows, x, probs, target)

    def _add_gradients(self, rows: slice, x: Tensor, probs: Tensor, target: Tensor) -> None:
        """Turn probabilities `(n, V)` into the gradient of the logits, and that into the others.

        What all words share of it, -e', needs no product with `(n, V)`: it goes into the others by
        the sums over words and over tokens.
        """
        probs.scatter_add_(1, target, probs.new_full(target.shape, -self.own))
        grads = probs.to(self.weight.dtype)
        if self.features_grad is not None:
            found = input_gradient(grads, self.weight)
            if self.all_words is not None:
                found = found.to(self.wide).sub_(self.all_words, alpha=self.share)
            self.features_grad[rows] = found
        if not self.wants_weight:
            return
        self.all_tokens += x.sum(0, dtype=self.wide)
        if self.weight_grad is None:
            self.weight_grad = weight_gradient(x, grads, self.weight).to(self.wide)
        elif grads.dtype == self.wide:
            self.weight_grad = weight_gradient(x, grads, self.weight, self.weight_grad)
        else:
            self.weight_grad += weight_gradient(x, grads, self.weight)

    def gradients(self) -> list[Tensor | None]:
        """Of features and weight, in their dtypes; None where not wanted."""
        weight_grad = self.weight_grad
        if self.wants_weight and weight_grad is None:  # no token
            weight_grad = torch.zeros_like(self.given[1])
        elif weight_grad is not None and self.share:
            weight_grad.sub_(self.all_tokens, alpha=self.share)
        both = (self.features_grad, weight_grad)
        return [None if x is None else x.to(y.dtype) for x, y in zip(both, self.given, strict=True)]


def _normaliser(logits: Tensor, probs: Tensor, target: Tensor, of_target: Tensor) -> Tensor:
    """The logarithm of the sum of exponentials of logits `(n, V)`, `(n, 1)`, from their softmax."""
    if logits.device.type != "cpu":  # to look for rare targets an accelerator must be waited for
        # The likeliest word's probability is at least 1 / V: its logarithm loses nothing.
        return logits.amax(1, keepdim=True) - probs.amax(1, keepdim=True).log()
    of_these = probs.gather(1, target)
    found = of_target - of_these.log()
    rare = (of_these < SMALLEST_OF_USE[probs.dtype]).any(1).nonzero().squeeze(1)
    if len(rare):
        found[rare] = logits[rare].logsumexp(1, keepdim=True)
    return found


def piece_rows(words: int, kind: str) -> int:
    """How many rows a piece has on a kind of device."""
    limit = PIECE_BYTES.get(kind, PIECE_BYTES_ELSEWHERE)
    return max(limit // (4 * words), MIN_PIECE)
