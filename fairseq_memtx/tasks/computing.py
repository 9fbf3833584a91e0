"""How our tasks compute a training, whatever model it trains: `config.ComputeOptions`."""

import contextlib
import logging
import platform
from collections.abc import Callable, Iterator
from typing import Any

import torch
from fairseq.optim import AMPOptimizer, FP16Optimizer, MemoryEfficientFP16Optimizer
from fairseq.optim.adam import Adam, FairseqAdam
from fairseq.tasks import FairseqTask
from torch import nn

from ..compute.adam import AdamSettings, adam_step
from ..compute.functions import in_place_of_torchs
from ..compute.plan import Plan
from ..config import ComputeOptions, flag, from_namespace
from ..criterions.in_pieces import IN_PIECES
from ..ground.errors import UserError

logger = logging.getLogger(__name__)

OTHER_PRECISIONS = (AMPOptimizer, FP16Optimizer, MemoryEfficientFP16Optimizer)


class ComputingTask(FairseqTask):
    """A task with `ComputeOptions` among its settings; to be mixed in before fairseq's."""

    compute_options = ComputeOptions()
    #: Of the training; None before its first step.
    _math: "CpuMath | None" = None

    def set_compute_options(self, cfg: Any) -> None:
        """Read them from fairseq's settings.

        Raises:
            UserError: for options that are impossible.
        """
        self.compute_options = from_namespace(cfg, ComputeOptions)

    @property
    def memtx_loss_in_pieces(self) -> bool:
        """Whether the loss is computed in pieces; our criterions ask."""
        return self.compute_options.loss == "pieces"

    def build_criterion(self, *args, **kwargs):
        """fairseq's hook: its criterion, which can work in pieces where ours does."""
        criterion = super().build_criterion(*args, **kwargs)
        # fairseq makes criteria from settings of three kinds; ours adds methods and no state.
        criterion.__class__ = IN_PIECES.get(type(criterion), type(criterion))
        return criterion

    def train_step(self, sample, model, criterion, optimizer, *args, **kwargs):
        """fairseq's hook: one batch, computed as the options say."""
        if self._math is None:
            self._math = cpu_math(self.compute_options, model, optimizer)
        with self._math.step():
            criterion = self._math.under_autocast(criterion)
            return super().train_step(sample, model, criterion, optimizer, *args, **kwargs)

    def valid_step(self, sample, model, criterion):
        """fairseq's hook; in float32, so that losses can be compared."""
        if self._math is None:
            return super().valid_step(sample, model, criterion)
        with self._math.step():
            return super().valid_step(sample, model, criterion)

    def optimizer_step(self, optimizer, model, update_num):
        """fairseq's hook: Adam in one pass where that is chosen and the optimizer is such."""
        if self._math is None or not self._math.changes or not adam_at_once(optimizer):
            super().optimizer_step(optimizer, model, update_num)


class CpuMath:
    """How the steps of a training on a CPU compute.

    Args:
        kind: one of the choices of `--memtx-cpu-math`.
        plan: of products in float32, or None.
    """

    def __init__(self, kind: str, plan: Plan | None = None):
        self.kind, self.plan = kind, plan

    @property
    def changes(self) -> bool:
        """Whether anything is other than torch has it."""
        return self.kind != "torch"

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around a forward and its backward."""
        with in_place_of_torchs(self.plan) if self.changes else contextlib.nullcontext():
            yield

    def under_autocast(self, criterion: Callable[..., Any]) -> Callable[..., Any]:
        """The criterion, in bfloat16 where that is asked for; its backward takes that over."""
        if self.kind != "bfloat16":
            return criterion

        def call(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast("cpu", torch.bfloat16):
                return criterion(*args, **kwargs)

        return call


def cpu_math(options: ComputeOptions, model: nn.Module, optimizer: Any) -> CpuMath:
    """What the options mean for a model where it lies; tries products and says what it found.

    Raises:
        UserError: where they ask for bfloat16 and the processor has none, or another flag has
            chosen a precision already.
    """
    parameter = next(iter(model.parameters()))
    name = flag("cpu_math")
    if options.cpu_math == "torch":
        return CpuMath("torch")
    if parameter.device.type != "cpu":
        logger.info("%s %s: this training is not on a CPU", name, options.cpu_math)
        return CpuMath("torch")
    if parameter.dtype != torch.float32 or isinstance(optimizer, OTHER_PRECISIONS):
        raise UserError(
            f"{name} is {options.cpu_math}: leave it out with --fp16, --bf16, --amp and the like"
        )
    if options.cpu_math == "bfloat16":
        if not has_bfloat16():
            raise UserError(
                f"{name} has to be float32 or torch on this processor, which has no instructions"
                " for bfloat16 (AVX512_BF16, AMX or those of Arm): it would be slower, not faster"
            )
        logger.info("%s bfloat16: products in bfloat16, the rest in float32", name)
        return CpuMath("bfloat16")
    plan = Plan()
    plan.try_all((m.out_features, m.in_features) for m in linears(model))
    logger.info("%s float32: products by %s", name, plan.describe())
    return CpuMath("float32", plan)


def linears(model: nn.Module) -> list[nn.Linear]:
    """The linear maps of a model."""
    return [module for module in model.modules() if type(module) is nn.Linear]


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in its own instructions."""
    if platform.machine() in ("aarch64", "arm64"):
        try:
            return torch.ops.mkldnn._is_mkldnn_bf16_supported()
        except (AttributeError, RuntimeError):  # a torch without oneDNN, as Apple's
            return False
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = (getattr(torch.cpu, name, None) for name in asked)
    return any(ask() for ask in found if ask is not None)


def adam_at_once(optimizer: Any) -> bool:
    """Make the step of fairseq's Adam in one pass over memory; False where that cannot be."""
    if type(optimizer) is not FairseqAdam or type(optimizer.optimizer) is not Adam:
        return False
    inner = optimizer.optimizer
    if not all(_is_plain(group) for group in inner.param_groups):
        return False
    for group in inner.param_groups:
        _step_group(inner, group)
    return True


def _is_plain(group: dict[str, Any]) -> bool:
    """Whether a group's parameters and gradients are of the kind that `adam_step` takes."""
    pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
    return not group.get("amsgrad", False) and all(
        x.device.type == "cpu" and x.dtype == torch.float32 and x.layout == torch.strided
        for pair in pairs
        for x in pair
    )


def _step_group(inner: Adam, group: dict[str, Any]) -> None:
    """One step of the parameters of a group that have a gradient, by number of steps before."""
    by_step: dict[int, list[Any]] = {}
    for p in group["params"]:
        if p.grad is None:
            continue
        state = inner.state[p]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
        state["step"] += 1
        by_step.setdefault(state["step"], []).append(p)
    for step, parameters in by_step.items():
        states = [inner.state[p] for p in parameters]
        adam_step(
            [p.data for p in parameters],
            [p.grad.data for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            AdamSettings(group["lr"], group["betas"], group["eps"], group["weight_decay"], step),
        )
