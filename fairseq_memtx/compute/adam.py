"""fairseq's Adam in one pass over memory.

fairseq's class goes over a parameter, its gradient and its two averages in ten operations; torch
has a kernel that goes once. They differ in where epsilon stands: fairseq has `m / (sqrt(v) + eps)`
with both corrections in the step size, torch corrects v before the root. An epsilon divided by the
root of the correction makes them the same, up to rounding.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class AdamSettings(NamedTuple):
    """Of one step.

    Attributes:
        lr: learning rate.
        betas: of the averages of the gradient and of its square.
        eps: added to the root.
        weight_decay: share of a parameter that is taken away for each unit of `lr`, before.
        step: number of this step, from 1.
    """

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    step: int


def adam_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    square_averages: Sequence[Tensor],
    settings: AdamSettings,
) -> None:
    """Change parameters and averages in place; all in float32 or float64, on a CPU."""
    beta1, beta2 = settings.betas
    with torch.no_grad():
        torch._fused_adamw_(
            list(parameters),
            list(gradients),
            list(averages),
            list(square_averages),
            [],
            [torch.tensor(float(settings.step))] * len(parameters),
            lr=settings.lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=settings.weight_decay,
            eps=settings.eps / math.sqrt(1.0 - beta2**settings.step),
            amsgrad=False,
            maximize=False,
        )
