"""Attention of one target position, forward and backward, in the few operations that it needs.

Vaswani et al. 2017, section 3.2. A single query per sentence and head makes the products bound by
memory, not arithmetic: plain batched products over the keys as they lie are the fastest form.

Size legend: BH sentences times heads, K keys, D head dimension.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_softmax_backward = torch.ops.aten._softmax_backward_data.default
_softmax_backward_into = torch.ops.aten._softmax_backward_data.out

HALF_PRECISIONS = (torch.float16, torch.bfloat16)


class Keys(NamedTuple):
    """What a query attends to.

    Attributes:
        keys, values: `(BH, K, D)`.
        bias: `(BH or 1, 1, K)`, -inf at keys that do not exist, or None.
        hidden: `(BH, 1, K)`, True where `bias` is -inf, or None where every query has a key left.
        position_keys: `(K, D)`, added to the keys, or None.
    """

    keys: Tensor
    values: Tensor
    bias: Tensor | None = None
    hidden: Tensor | None = None
    position_keys: Tensor | None = None


def attend(query: Tensor, seen: Keys, drop: Tensor | None, probs: Tensor, context: Tensor) -> None:
    """Write the probabilities and the context of `query` `(BH, 1, D)`, which is already scaled.

    Args:
        query: as above.
        seen: the keys and values.
        drop: dropout mask `(BH, 1, K')` of the last K' keys, or None.
        probs: `(BH, 1, K)`, written; before dropout.
        context: `(BH, 1, D)`, written.
    """
    scores = _scores(query, seen)
    if _needs_float32(scores):
        found = torch.softmax(scores, -1, dtype=torch.float32).to(probs.dtype)
    elif probs.is_contiguous():
        found = torch.softmax(scores, -1, out=probs)
    else:
        found = torch.softmax(scores, -1)
    if seen.hidden is not None:
        found.masked_fill_(seen.hidden, 0.0)  # a query without any key has NaN here
    if found is not probs:
        probs.copy_(found)
    torch.bmm(found if drop is None else dropped(found, drop), seen.values, out=context)


def attend_back(
    grad: Tensor,
    seen: Keys,
    drop: Tensor | None,
    probs: Tensor,
    extra: Tensor | None,
    scaling: float,
    scores_grad: Tensor,
    query_grad: Tensor,
) -> None:
    """The backward of `attend` for all but the keys and values.

    Args:
        grad: `(BH, 1, D)`, of the context.
        seen, drop, probs: as in `attend`.
        extra: `(BH, 1, K)`, a gradient of `probs` from elsewhere, or None.
        scaling: of the query.
        scores_grad: `(BH, 1, K)`, written.
        query_grad: `(BH, 1, D)`, written; of the query before it was scaled.
    """
    probs_grad = torch.bmm(grad, seen.values.transpose(1, 2))
    if drop is not None:
        probs_grad = dropped(probs_grad, drop)
    if extra is not None:
        probs_grad.add_(extra)
    _softmax_back(probs_grad, probs, scores_grad)
    torch.baddbmm(query_grad, scores_grad, seen.keys, beta=0, alpha=scaling, out=query_grad)
    if seen.position_keys is not None:
        rows = scores_grad.squeeze(1).mm(seen.position_keys).unsqueeze(1)
        query_grad.add_(rows, alpha=scaling)


def dropped(probs: Tensor, drop: Tensor) -> Tensor:
    """`probs` `(BH, 1, K)` times the mask of its last columns, in a new tensor."""
    if drop.size(-1) == probs.size(-1):
        return torch.mul(probs, drop).to(probs.dtype)
    result = probs.clone(memory_format=torch.contiguous_format)
    result[..., probs.size(-1) - drop.size(-1) :].mul_(drop)
    return result


def _scores(query: Tensor, seen: Keys) -> Tensor:
    keys = seen.keys.transpose(1, 2)
    start = seen.bias
    if seen.position_keys is not None:
        positions = query.squeeze(1).mm(seen.position_keys.t()).unsqueeze(1)
        start = positions if start is None else positions + start
    return torch.bmm(query, keys) if start is None else torch.baddbmm(start, query, keys)


def _softmax_back(grad: Tensor, probs: Tensor, out: Tensor) -> None:
    if _needs_float32(probs):
        grad, probs = grad.float(), probs.float()
    elif out.is_contiguous():
        _softmax_backward_into(grad, probs, -1, probs.dtype, grad_input=out)
        return
    out.copy_(_softmax_backward(grad, probs, -1, probs.dtype))


def _needs_float32(x: Tensor) -> bool:
    """Half precision overflows in the exponential; the kernels of accelerators see to that."""
    return x.dtype in HALF_PRECISIONS and x.device.type == "cpu"
